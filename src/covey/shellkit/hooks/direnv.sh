# A direnv library: `use covey` in an .envrc loads the variables of its directory's project.
use_covey() {
  watch_file "$__covey_dir/stamp" "$(find_up .covey.toml || printf .covey.toml)"
  eval "$(covey env export)"
}
