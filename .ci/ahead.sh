# shellcheck shell=bash
# Sourced by .ci/run: the builds that the steps need, and the builder, a background process that
# makes the builds before the steps ask for them.
#
# A test suite keeps one processor busy. The builder compiles on the other processors meanwhile, one
# build after the other. The builder has the lowest priority, so that it takes no time from the
# tests. When all builds are made, the builder performs steps itself (lanes.sh). Each build is a
# function build_NAME. A build runs once: in the builder, or in a step that needs the build earlier.

records=$work/builds  # for each build: its log, its seconds, its status once it has ended
mkdir "$records"

# begin_build NAME: runs the function build_NAME, unless the builder or a step has begun that build
# already. Records its log, its duration and its status.
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

# await_build NAME: waits for a build that the builder or a step has begun. The builder has normal
# priority meanwhile.
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

# set_priority NICENESS: sets the priority of the builder and of the processes that it has started.
set_priority() {
    [[ ${is_builder-} ]] || renice -n "$1" -g "$builder" >/dev/null 2>&1 || true
}

# built NAME...: makes the builds, or waits for them. Prints the log of a build that failed, and
# fails. Call the function outside any condition, because bash switches errexit off within one.
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

# start_builder NAME...: starts the builder, which makes the builds in the order of the arguments:
# that in which the steps need them.
start_builder() {
    set -m  # gives the builder a process group of its own, which stop_builder ends
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

# Prints a line for each build that has ended: its status, its duration, and whether the builder
# made it ahead or a step did.
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
