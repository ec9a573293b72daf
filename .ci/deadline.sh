# shellcheck shell=bash
# Sourced by .ci/run: the end of a run that hangs or takes too long.
#
# A caller that ends a run from outside loses the run's output, and does not learn which step hung.
# The watchdog therefore ends the run before that. It prints the processes of the unfinished steps
# and the last lines of their logs, and then ends those processes. The steps fail, and the script
# prints its summary.

limit=${IOCP_SOCK_CI_LIMIT:-4800}  # seconds
late=$work/late

# descendants PID: prints the ids of the process's children and of all their descendants, except the
# watchdog.
descendants() {
    local child
    for child in $(pgrep -P "$1"); do
        [[ $child != "${watchdog_id-}" ]] || continue
        echo "$child"
        descendants "$child"
    done
}

# Starts the watchdog, a background process that waits until the run's time is over.
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
