#!/bin/bash
# The team's migrations. Each bears being run twice.
set -euo pipefail
cd "$(dirname "$0")/.."
export PGAPPNAME=migrate
# shellcheck source=../connection
source ./connection
sql --command 'ALTER TABLE scenarios ADD COLUMN IF NOT EXISTS accepted_generation_id bigint'
echo "migrated"
