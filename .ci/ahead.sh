# shellcheck shell=bash
# Sourced by run: the builds that steps need, and the builder that makes them ahead of the steps.
#
# A test suite keeps one processor busy. The builder compiles on the others meanwhile, one build after
# the other, at the lowest priority, so that it takes no time from the tests, and performs steps
# itself afterwards (lanes.sh). The function build_NAME is a build. It runs once: in the builder, or
# in the step that needs it before the builder comes to it.

records=$work/builds  # of each build: its log, its seconds, its status once it has ended
mkdir "$records"

# begin_build NAME: runs the build, unless it was begun before.
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

# await_build NAME: waits for a build that the other has begun, which is urgent then.
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

# set_priority NICENESS: of the builder and whatever it runs.
set_priority() {
    [[ ${is_builder-} ]] || renice -n "$1" -g "$builder" >/dev/null 2>&1 || true
}

# built NAME...: returns once the builds are made. Fails, and prints the log, where one has failed.
# A condition around it would switch errexit off in the build: it stands alone.
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

# start_builder NAME...: the builds in the order in which steps need them.
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

# waited STEP: prints the seconds that the step has waited for builds.
waited() {
    local sum=0 seconds
    if [[ -e $records/waited.$1 ]]; then
        while read -r seconds; do sum=$((sum + seconds)); done <"$records/waited.$1"
    fi
    echo "$sum"
}

# Prints each build that has ended: its seconds, and who made it.
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
