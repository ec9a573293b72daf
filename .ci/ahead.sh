# shellcheck shell=bash
# Sourced by run: the builds that steps need, and the builder that makes them before the steps.
#
# A test suite keeps one processor busy. The builder compiles on the others meanwhile, one build
# after the other. It has the lowest priority, so that it takes no time from the tests. Afterwards
# it performs steps itself (lanes.sh). The function build_NAME is a build. It runs once: in the
# builder, or earlier in the step that needs it.

records=$work/builds  # for each build: its log, its seconds, its status once it has ended
mkdir "$records"

# begin_build NAME: runs the build, unless it has begun already.
begin_build() {
    local record=$records/$1 begun=$SECONDS status
    mkdir "$record" 2>/dev/null || return 0
    [[ ${is_builder-} ]] && touch "$record/ahead"
    set +e
    (
        set -e
        within_build=1
        "build_$1"
    ) >"$record/log" 2>&1
    status=$?
    set -e
    echo $((SECONDS - begun)) >"$record/seconds"
    echo "$status" >"$record/status.new"
    mv "$record/status.new" "$record/status"
}

# await_build NAME: waits for a build that the other lane has begun, at normal priority.
await_build() {
    local status=$records/$1/status alive=yes
    [[ ! -e $status ]] || return 0
    set_priority 0
    while [[ ! -e $status && $alive ]]; do
        [[ ${is_builder-} ]] || kill -0 "$builder" 2>/dev/null || alive=
        sleep 0.2
    done
    set_priority 19
    [[ -e $status ]] || { echo "the builder ended during the build $1" >&2 && return 1; }
}

# set_priority NICENESS: sets the priority of the builder and its processes.
set_priority() {
    [[ ${is_builder-} ]] || renice -n "$1" -g "$builder" >/dev/null 2>&1 || true
}

# built NAME...: returns once the builds are made. If one has failed it prints the log and fails.
# Call it outside any condition, which would switch errexit off in the build.
built() {
    local name begun=$SECONDS
    for name in "$@"; do
        begin_build "$name"
        await_build "$name"
    done
    [[ ${within_build-} ]] || echo $((SECONDS - begun)) >>"$records/waited.$performing"
    for name in "$@"; do
        if [[ $(<"$records/$name/status") != 0 ]]; then
            say "the build $name failed"
            cat "$records/$name/log" >&2
            return 1
        fi
    done
}

# start_builder NAME...: starts the builder with the builds in the order in which steps need them.
start_builder() {
    set -m  # a process group of its own, which stop_builder ends
    (
        is_builder=1
        renice -n 19 "$BASHPID"
        local name
        for name in "$@"; do begin_build "$name"; done
        renice -n 0 "$BASHPID" || true
        perform_from_the_back
    ) >/dev/null 2>"$records/builder.log" &
    builder=$!
    set +m
}

stop_builder() {
    [[ ${builder-} ]] || return 0
    kill -TERM -- "-$builder" 2>/dev/null || true
    wait "$builder" 2>/dev/null || true
}

# waited STEP: prints the seconds that the step waited for builds.
waited() {
    local sum=0 seconds
    if [[ -e $records/waited.$1 ]]; then
        while read -r seconds; do sum=$((sum + seconds)); done <"$records/waited.$1"
    fi
    echo "$sum"
}

# Prints each ended build: its seconds, and the lane that made it.
print_builds() {
    local record where
    for record in "$records"/*/; do
        [[ -e $record/status ]] || continue
        where='in a step'
        [[ -e $record/ahead ]] && where=ahead
        printf '%-12s %-6s %4d s, %s\n' "$(basename "$record")" \
            "$( (($(<"$record/status"))) && echo FAILED || echo ok)" "$(<"$record/seconds")" "$where"
    done
}
