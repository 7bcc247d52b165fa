#!/usr/bin/env bash
# What the documentation says, held against the repository: commands, reasons, metrics, dependencies, links, the first
# example. Needs no cluster and nothing but a shell. CONTRIBUTING.md says how each check works.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
pages=(README.md CHANGELOG.md CONTRIBUTING.md docs/*.md docs/adr/*.md docs/performance/README.md examples/README.md charts/backfill-operator/README.md tests/cluster/README.md tests/argocd/README.md)
table=docs/commands.tsv
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
problems=0

problem() {
    echo "docs.sh: $*" >&2
    problems=$((problems + 1))
}

main() {
    commands
    reasons
    metrics
    dependencies
    links
    first_example
    [ "$problems" -eq 0 ] || { echo "docs.sh: $problems problems" >&2; exit 1; }
    echo "docs.sh: all good"
}

# The commands in blocks marked `sh`, each with the page that it stands on.
documented() {
    local page
    for page in "${pages[@]}"; do
        awk -v page="$page" '
            /^ *```/ { inside = !inside && $0 ~ /```sh$/; next }
            inside && /^ *(kubectl|helm|make|tests\/)/ { sub(/^ */, ""); print page "\t" $0 }' "$page"
    done
}

# Each command matches a line of the table, and the test that the line names runs such a command.
commands() {
    local page command pattern test text matched untested=0
    local -A used=()
    documented >"$work/commands"
    [ -s "$work/commands" ] || problem "no command is documented: is the search broken?"
    while IFS=$'\t' read -r page command; do
        matched=
        while IFS=$'\t' read -r pattern test text; do
            [[ $command =~ $pattern ]] || continue
            matched=yes
            used[$pattern]=yes
            break
        done < <(rows)
        [ -n "$matched" ] || problem "$page: no test is named for: $command ($table)"
    done <"$work/commands"
    while IFS=$'\t' read -r pattern test text; do
        [ -n "${used[$pattern]:-}" ] || problem "$table: no page has a command like: $pattern"
        if [ "$test" = untested ]; then
            untested=$((untested + 1))
            echo "untested: $pattern ($text)"
        elif ! grep --quiet --recursive --fixed-strings -- "$text" "$test" 2>/dev/null; then
            problem "$table: $test does not have: $text"
        fi
    done < <(rows)
    echo "commands: $(wc -l <"$work/commands") documented, $untested kinds untested"
}

rows() {
    grep -v '^#' "$table"
}

# Every reason that a function `reason` answers, a step ends with or a phase stalls for, in backticks.
reasons() {
    {
        find src -name '*.rs' -exec awk '/fn reason\(/ { on = 1 } on { print } /^    }$/ { on = 0 }' {} + | grep -oE '=> "[A-Z][A-Za-z]+"'
        grep -rhoE '(stall|stalled)\([^"]*"[A-Z][A-Za-z]+"' src --include='*.rs'
        grep -rhoE 'Outcome::(Failed|Stalled|Inconclusive|Lost), *"[A-Z][A-Za-z]+"' src/steps
    } | grep -oE '"[A-Z][A-Za-z]+"' | tr -d '"' | sort -u >"$work/reasons"
    [ "$(wc -l <"$work/reasons")" -gt 50 ] || problem "hardly a reason is found in the code: is the search broken?"
    said "$work/reasons" "the reason" docs/operations.md docs/notifications.md
    echo "reasons: $(wc -l <"$work/reasons")"
}

metrics() {
    sed -nE 's/.*registry\.register\("([a-z_]+)".*/backfill_\1/p' src/controller/metrics.rs >"$work/metrics"
    [ -s "$work/metrics" ] || problem "no metric is found in the code: is the search broken?"
    local name
    while read -r name; do
        grep --quiet -E "\`${name}(_total|_info)?[\`{]" docs/operations.md || problem "docs/operations.md: the metric $name is missing"
    done <"$work/metrics"
}

dependencies() {
    awk '/^\[/ { on = $0 ~ /^\[(dev-)?dependencies\]/ } on && /^[a-z]/ { print $1 }' Cargo.toml | sort -u >"$work/dependencies"
    [ -s "$work/dependencies" ] || problem "no dependency is found: is the search broken?"
    said "$work/dependencies" "the dependency" docs/dependencies.md
}

said() { # file of words, what they are, pages…
    local words=$1 what=$2 word
    shift 2
    while read -r word; do
        grep --quiet --fixed-strings "\`$word\`" "$@" || problem "$*: $what $word is missing"
    done <"$words"
}

# Relative links lead to a file, and their anchors to a heading in it.
links() {
    local page target file anchor
    for page in "${pages[@]}"; do
        while read -r target; do
            case $target in http://* | https://* | mailto:*) continue ;; esac
            file=${target%%#*} anchor=
            [ "$file" = "$target" ] || anchor=${target#*#}
            file=${file:+$(dirname "$page")/$file}
            file=${file:-$page}
            if [ ! -e "$file" ]; then
                problem "$page: the link $target leads nowhere"
            elif [ -n "$anchor" ] && ! headings "$file" | grep --quiet --fixed-strings --line-regexp -- "$anchor"; then
                problem "$page: $file has no heading for #$anchor"
            fi
        done < <(awk '/^ *```/ { inside = !inside; next } !inside' "$page" | sed 's/`[^`]*`//g' | grep -oE '\]\([^) ]+\)' | sed 's/^](//; s/)$//')
    done
}

headings() { # page
    awk '/^```/ { inside = !inside; next } !inside && /^#+ / { sub(/^#+ /, ""); print tolower($0) }' "$1" | sed -E 's/[^a-z0-9 _-]//g; s/ /-/g'
}

# What a person copies first is what the tests apply.
first_example() {
    awk '/^```yaml$/ { on = 1; next } /^```$/ && on { exit } on' README.md >"$work/example"
    diff "$work/example" examples/smallest/backfillrun.yaml >"$work/diff" || problem "README.md: the first example is not examples/smallest/backfillrun.yaml: $(cat "$work/diff")"
    [ "$(wc -l <"$work/example")" -le 25 ] || problem "the smallest run has more than 25 lines"
}

main
