# Completion of covey for fish. Load it: covey completion fish | source
function __covey_complete
    set -l words (commandline -opc)
    set -l program $words[1]
    set -e words[1]
    set -l current (commandline -ct)
    for line in (command $program __complete $words $current 2>/dev/null)
        switch $line
            case ':files'
                __fish_complete_path $current
            case ':directories'
                __fish_complete_directories $current
            case ':commands'
                __fish_complete_command
            case '*'
                echo $line
        end
    end
end
complete -c covey -f -a '(__covey_complete)'
