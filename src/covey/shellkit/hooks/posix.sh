# Finds the project of a directory; shared by bash and zsh, with nothing but their builtins.
# Names are taken from .covey.toml by pattern, and nothing in that file is ever evaluated.

__covey_locate() {
  local above=$PWD
  while [[ ! -f $above/.covey.toml ]]; do
    if [[ $above != */* ]]; then
      return 1
    fi
    above=${above%/*}
  done
  __covey_file=$above/.covey.toml
}

__covey_find() {
  local project='' environment='' fault=''
  __covey_file=$PWD/.covey.toml
  if __covey_locate; then
    if [[ ! -O $__covey_file ]]; then
      fault='belongs to another user and is ignored'
    elif ! __covey_lines; then
      fault='is malformed: covey env list names the line'
    elif [[ -n $environment && -z $project ]]; then
      fault='names an environment without its project'
    fi
  fi
  if [[ -n $fault ]]; then
    project='' environment=''
    if [[ $fault != "$__covey_fault" ]]; then
      printf 'covey: the .covey.toml of this directory %s\n' "$fault" >&2
    fi
  fi
  __covey_fault=$fault __covey_pwd=$PWD
  __covey_project=$project __covey_environment=$environment
}

# Takes one line: fails on a malformed name, and sets `ended` at the first table.
__covey_line() {
  local line=$1 key rest quote space=$' \t\r'
  line=${line#"${line%%[!$space]*}"}
  case $line in
    '['*) ended=1 ;;
    project*=* | environment*=*)
      key=${line%%=*} rest=${line#*=}
      key=${key%"${key##*[!$space]}"} rest=${rest#"${rest%%[!$space]*}"}
      quote=${rest:0:1} rest=${rest:1}
      case $key in
        project | environment) ;;
        *) return 0 ;;
      esac
      case $quote in
        \" | \') ;;
        *) return 1 ;;
      esac
      __covey_name "${rest%%"$quote"*}" && [[ $rest == *"$quote"* ]] || return 1
      if [[ $key == project ]]; then
        [[ -z $project ]] || return 1
        project=${rest%%"$quote"*}
      else
        [[ -z $environment ]] || return 1
        environment=${rest%%"$quote"*}
      fi
      rest=${rest#*"$quote"}
      rest=${rest#"${rest%%[!$space]*}"}
      [[ -z $rest || $rest == '#'* ]]
      ;;
  esac
}

__covey_name() {
  local first=abcdefghijklmnopqrstuvwxyz0123456789
  case $1 in
    '' | [!$first]* | *[!$first._-]*) return 1 ;;
  esac
  [[ ${#1} -le 63 ]]
}

# Chooses the rendered file: of the environment, else of the project, else of the fleet.
__covey_choose() {
  __covey_chosen=$1/$__covey_project@$__covey_environment
  [[ -r $__covey_chosen ]] || __covey_chosen=$1/$__covey_project@
  [[ -r $__covey_chosen ]] || __covey_chosen=$1/@
  [[ -r $__covey_chosen ]]
}
