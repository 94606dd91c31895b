# Names are taken from .covey.toml by pattern, and nothing in that file is ever evaluated.
set -g __covey_pwd ''
set -g __covey_stamp ''
set -g __covey_file ''
set -g __covey_fault ''
set -g __covey_project ''
set -g __covey_environment ''

function __covey_lines
    set -g __covey_project ''
    set -g __covey_environment ''
    set -l count 0
    set -l line
    while test $count -lt 64; and read --nchars 512 line
        set count (math $count + 1)
        string match -qr '^\s*\[' -- $line; and break
        set -l part (string match -r --groups-only '^[ \t]*(project|environment)[ \t]*=(.*)$' -- $line); or continue
        set -l name (string match -r --groups-only '^[ \t]*(["\'])([a-z0-9][a-z0-9._-]{0,62})\1[ \t\r]*(?:#.*)?$' -- $part[2]); or return 1
        set -l target __covey_$part[1]
        test -z $$target; or return 1
        set -g $target $name[2]
    end <$__covey_file
end

function __covey_find
    set -l above $PWD
    set -l fault ''
    set -g __covey_pwd $PWD
    set -g __covey_file $PWD/.covey.toml
    set -g __covey_project ''
    set -g __covey_environment ''
    while not test -f $above/.covey.toml
        if not string match -q '*/*' -- $above
            set -g __covey_fault ''
            return
        end
        set above (string replace -r '/[^/]*$' '' -- $above)
    end
    set -g __covey_file $above/.covey.toml
    if not test -O $__covey_file
        set fault 'belongs to another user and is ignored'
    else if not __covey_lines
        set fault 'is malformed: covey env list names the line'
    else if test -n "$__covey_environment" -a -z "$__covey_project"
        set fault 'names an environment without its project'
    end
    if test -n "$fault"
        set -g __covey_project ''
        set -g __covey_environment ''
        if test "$fault" != "$__covey_fault"
            echo "covey: the .covey.toml of this directory $fault" >&2
        end
    end
    set -g __covey_fault $fault
end

# The rendered file is a list of calls of this: NAME VALUE.
function __covey_set
    set -l __covey_now __covey_now_$argv[1]
    set -ga __covey_seen $argv[1]
    if set -q $__covey_now
        # A value that was changed by hand in this shell stays.
        set -q $argv[1]; and test x"$$argv[1]" = x"$$__covey_now"; or return 0
        test x"$$argv[1]" = x"$argv[2]"; and return 0
    else if set -qx $argv[1]
        set -gx __COVEY_WAS_$argv[1] "$$argv[1]"
    else if set -qg $argv[1]
        set -g __covey_was_$argv[1] $$argv[1]
    end
    set -gx $argv[1] $argv[2]
    set -g $__covey_now $argv[2]
    contains -- $argv[1] $__covey_names; or set -ga __covey_names $argv[1]
end

function __covey_drop
    set -l __covey_now __covey_now_$argv[1]
    set -l __covey_env __COVEY_WAS_$argv[1]
    set -l __covey_own __covey_was_$argv[1]
    if set -q $argv[1]; and test x"$$argv[1]" = x"$$__covey_now"
        set -e -g $argv[1]
        if set -q $__covey_env
            set -gx $argv[1] "$$__covey_env"
        else if set -q $__covey_own
            set -g $argv[1] $$__covey_own
        end
    end
    set -e -g $__covey_now
    set -e -g $__covey_env
    set -e -g $__covey_own
end

function __covey_update
    set -l before "$__covey_project@$__covey_environment"
    __covey_find
    test -n "$argv[1]"; and test -O $__covey_dir; or return 0
    if test "$argv[1]" = "$__covey_stamp" -a "$before" = "$__covey_project@$__covey_environment"
        return 0
    end
    set -g __covey_seen
    if test "$argv[1]" != locked
        set -l chosen
        for name in $__covey_project@$__covey_environment $__covey_project@ @
            if test -r $__covey_dir/fish/$name
                set chosen $__covey_dir/fish/$name
                break
            end
        end
        test -n "$chosen"; or return 0
        source $chosen
    end
    for __covey_name in $__covey_names
        if not contains -- $__covey_name $__covey_seen
            __covey_drop $__covey_name
            set -e __covey_names[(contains -i -- $__covey_name $__covey_names)]
        end
    end
    if set -q __covey_names[1]
        set -gx __COVEY_NAMES " $__covey_names "
    else
        set -e -g __COVEY_NAMES
    end
    set -g __covey_stamp $argv[1]
end

function __covey_prompt --on-event fish_prompt --on-variable PWD
    set -l code $status
    set -l now ''
    if test -r $__covey_dir/stamp
        read now <$__covey_dir/stamp
    end
    if test "$now" != "$__covey_stamp" -o "$PWD" != "$__covey_pwd"
        __covey_update "$now"
    else if test -f $__covey_file
        test (path mtime -- $__covey_file) -ge (path mtime -- $__covey_dir/stamp; or echo 0)[1]
        and __covey_update "$now"
    end
    return $code
end

# A shell inside a shell takes over what the outer one had set.
set -g __covey_names (string match -ar '[A-Za-z_][A-Za-z0-9_]*' -- "$__COVEY_NAMES")
for __covey_name in $__covey_names
    set -g __covey_now_$__covey_name "$$__covey_name"
end
# With nothing inherited, the status above is 1, and would be that of `source`.
true
__covey_prompt
