# shellcheck shell=bash
# Sourced by run: divides the steps. A suite keeps one processor busy, so there are two lanes. The
# script takes steps from the front of the list. The builder takes them from the back once nothing
# is left to build. Their output goes to a log, which the script prints at their end.

performed=$work/steps  # for each step: its claim, its log, its line of the summary
mkdir "$performed"

# Claims a step. Fails if the other lane has it.
claim() { mkdir "$performed/$1.claim" 2>/dev/null; }

# perform STEP: runs it, and writes its line of the summary.
perform() {
    local begun=$SECONDS status verdict=ok
    # The status is read outside any condition, so that errexit holds inside the step.
    set +e
    (
        set -e
        performing=$1
        "step_$1"
    )
    status=$?
    set -e
    ((!status)) || verdict=FAILED
    printf '%-12s %-6s %4d s, %d of them for builds\n' "$1" "$verdict" $((SECONDS - begun)) \
        "$(waited "$1")" >"$performed/$1.new"
    say "$(<"$performed/$1.new")"
    mv "$performed/$1.new" "$performed/$1.summary"
}

# Performs the builder's steps.
perform_from_the_back() {
    local at
    for ((at = ${#steps[@]} - 1; at >= 0; at--)); do
        [[ ! -e $late ]] || return 0
        claim "${steps[at]}" || continue
        perform "${steps[at]}" >"$performed/${steps[at]}.log" 2>&1
    done
}

# await_step STEP: waits for a step of the builder, prints its log, and counts its failure.
await_step() {
    local summary=$performed/$1.summary
    while [[ ! -e $summary ]]; do
        if [[ -e $late && ! -e $performed/$1.claim ]]; then
            printf '%-12s %-6s not begun in time\n' "$1" FAILED >"$summary"
        elif ! kill -0 "$builder" 2>/dev/null && [[ ! -e $summary ]]; then
            printf '%-12s %-6s the builder ended during it\n' "$1" FAILED >"$summary"
        fi
        sleep 0.5
    done
    if [[ -e $performed/$1.log ]]; then
        say "step $1"
        cat "$performed/$1.log"
    fi
    [[ $(<"$summary") != *" FAILED "* ]] || failures=$((failures + 1))
}
