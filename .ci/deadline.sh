# shellcheck shell=bash
# Sourced by run: the end of a run that hangs or takes too long.
#
# A caller that ends a run from outside loses what the run has printed, and learns neither which
# step hung nor where. The watchdog therefore ends it first: it prints the processes of the steps
# that have not ended and the last lines of their logs, and ends them. The steps then fail, and the
# script prints its summary.

limit=${IOCP_SOCK_CI_LIMIT:-4800}  # seconds
late=$work/late

# descendants PID: prints the ids of a process's children and of theirs, without the watchdog.
descendants() {
    local child
    for child in $(pgrep -P "$1"); do
        [[ $child != "${watchdog_id-}" ]] || continue
        echo "$child"
        descendants "$child"
    done
}

# Starts the watchdog.
start_watchdog() {
    (
        watchdog_id=$BASHPID
        while ((SECONDS < limit)); do sleep 1; done
        touch "$late"
        mapfile -t running < <(descendants $$)
        say "out of time after $limit s; these processes were running"
        ps -o pid,ppid,etimes,time,stat,args -p "$(IFS=,; echo "${running[*]}")" || true
        for log in "$performed"/*.log "$records"/*/log; do
            if [[ -e $log && ! -e ${log%.log}.summary && ! -e ${log%log}status ]]; then
                say "the end of $log"
                tail -n 60 "$log"
            fi
        done
        kill -TERM "${running[@]}" 2>/dev/null || true
        sleep 10
        kill -KILL "${running[@]}" 2>/dev/null || true
    ) &
    watchdog=$!
}

stop_watchdog() { [[ ! ${watchdog-} ]] || kill -KILL "$watchdog" 2>/dev/null || true; }
