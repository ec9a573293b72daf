# shellcheck shell=bash
# Sourced by .ci/run: divides the steps between two lanes, because a test suite keeps only one
# processor busy. The script takes steps from the front of the list. The builder takes steps from
# the back once all builds are made. The output of the builder's steps goes to logs, which the
# script prints at the end.

performed=$work/steps  # for each step: its claim, its log, its line of the summary
mkdir "$performed"

# claim STEP: claims a step for the calling lane. Fails if the other lane has claimed the step.
claim() { mkdir "$performed/$1.claim" 2>/dev/null; }

# perform STEP: runs the step, and writes the step's line of the summary.
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

# Performs steps from the back of the list, in the builder.
perform_from_the_back() {
    local at
    for ((at = ${#steps[@]} - 1; at >= 0; at--)); do
        [[ ! -e $late ]] || return 0
        claim "${steps[at]}" || continue
        perform "${steps[at]}" >"$performed/${steps[at]}.log" 2>&1
    done
}

# await_step STEP: waits until the step has ended. Prints its log if the builder performed it, and
# counts its failure.
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
