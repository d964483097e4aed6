#!/bin/sh
# spec/c/mutants.sh - can the tests fail? Plants bugs and expects a test to find each. spec/mutants.lua does it, and says how.
exec lua5.4 "$(dirname -- "$0")/../mutants.lua" "$@"
