# shellcheck shell=bash
# The failure half of the demo, sourced by it: an application writes all the while, a check fails, undo brings the data back,
# and every row is accounted for: what the application has committed is there, and everything else is what it was.

sql() { # statement
    kubectl --namespace demo-postgres exec --stdin deploy/postgres -- \
        psql --no-psqlrc --quiet --tuples-only --no-align --username postgres --dbname scenarios --set ON_ERROR_STOP=1 --command "$1"
}

# Each row that the run may write, with a hash of what it may write there. The scenarios application goes on renaming, too.
rows() {
    sql "SELECT 's', id, md5(ROW(accepted_prompt, accepted_prompt_metadata)::text) FROM scenarios
         UNION ALL SELECT 'g', scenario_id, md5(string_agg(metadata::text, ',' ORDER BY id)) FROM scenario_generations GROUP BY scenario_id"
}

# An application with a log of its own, which writes to the very columns that the run writes: a line for each write, once the server has
# said that it is committed.
#
# It begins when the rows are written: planned rows that change before would make another plan, and another approval.
writer() {
    local n=0 id column value
    until [[ "$(status .status.phase)" =~ ^(Verifying|RollingBack)$ ]] || [ ! -e "$work/writing" ]; do
        sleep 0.3
    done
    while [ -e "$work/writing" ]; do
        n=$((n + 1)) id=$(((RANDOM * 32768 + RANDOM) % (rows * 6 / 10) + 1))
        column=accepted_prompt value="'by the application, $n'"
        [ $((n % 2)) -eq 0 ] || column=accepted_prompt_metadata value="to_jsonb('by the application, $n'::text)"
        echo "UPDATE scenarios SET $column = $value WHERE id = $id RETURNING id, '$column', $column;"
        sleep 0.05
    done | kubectl --namespace demo-postgres exec --stdin deploy/postgres -- \
        psql --no-psqlrc --quiet --tuples-only --no-align --username postgres --dbname scenarios >"$work/committed"
}

failing_half() {
    rows | sort >"$work/before"
    touch "$work/writing"
    writer &
    local writer=$!
    approve
    watch_until '.status.conditions[]? | select(.type == "Finished" and .status == "True")'
    sleep 1
    rm "$work/writing"
    wait "$writer"
    say "7. The way back"
    account
}

account() {
    local writes touched written undone skipped phase
    phase=$(status .status.phase)
    status '.status.message'
    echo
    status '.status.checks[] | select(.result != "Passed" or .phase == "RollingBack") | "  \(.result)  \(.name): \(.message)"'
    echo
    writes=$(grep -c . "$work/committed")
    cut -d'|' -f1 "$work/committed" | sort -u >"$work/touched"
    touched=$(wc -l <"$work/touched")
    # The last committed write of each row and column is there.
    awk -F'|' '{ last[$1 "|" $2] = $3 } END { for (k in last) print k "|" last[k] }' "$work/committed" | sort >"$work/expected"
    sql "SELECT id, 'accepted_prompt', accepted_prompt FROM scenarios UNION ALL SELECT id, 'accepted_prompt_metadata', accepted_prompt_metadata::text FROM scenarios" | sort >"$work/now"
    local missing
    missing=$(comm -23 "$work/expected" "$work/now" | tee "$work/missing" | wc -l)
    # Every other row is what it was before the run.
    local untouched differing
    untouched=$(awk -F'|' 'NR == FNR { touched[$1]; next } !($2 in touched)' "$work/touched" "$work/before" | tee "$work/before-untouched" | wc -l)
    rows | sort >"$work/after"
    awk -F'|' 'NR == FNR { touched[$1]; next } !($2 in touched)' "$work/touched" "$work/after" >"$work/after-untouched"
    differing=$(comm -3 "$work/before-untouched" "$work/after-untouched" | wc -l)
    written=$(status '.status.result.written') undone=$(status '.status.rollback.undone') skipped=$(status '.status.rollback.skippedBecauseChangedSince')
    printf '  rows written by the run            %6d\n' "$written"
    printf '  put back                           %6d\n' "$undone"
    printf '  left to the application            %6d   (%s, …)\n' "$skipped" "$(status '[.status.rollback.skippedKeys[]?][0:2] | join(", ")')"
    printf '  committed by the application       %6d   in %d rows; missing afterwards: %d\n' "$writes" "$touched" "$missing"
    printf '  rows that it did not touch         %6d   other than before the run: %d\n' "$untouched" "$differing"
    printf '  the flag                           %s\n' "$(kubectl --namespace demo get configmap app-flags -o jsonpath='{.data.features\.json}' | tr -d ' \n')"
    printf '\n\033[1m%s in %ds\033[0m\n' "$phase" $((SECONDS - begun))
    [ "$phase" = RolledBack ] && [ "$missing" -eq 0 ] && [ "$differing" -eq 0 ] && [ "$writes" -gt 0 ] && [ $((undone + skipped)) -eq "$written" ]
}
