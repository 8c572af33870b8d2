# Completion of scaem-token(1) for bash; installed as share/bash-completion/completions/scaem-token.

_scaem_token() {
    local common='--socket --format --help --version'
    local commands='register generate rotate obtain introspect revoke unregister list watch whoami status ping
        fingerprint call'
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command='' position=0 index
    COMPREPLY=()

    # `=` is a word of its own for bash: --format=json is three.
    [[ $word == = ]] && word=
    [[ $previous == = ]] && previous=${COMP_WORDS[COMP_CWORD - 2]}

    # Which command, and how many arguments stand behind it already.
    for ((index = 1; index < COMP_CWORD; index++)); do
        case ${COMP_WORDS[index]} in
            --socket | --format | --application | --ttl | --grace | --output | --token-file | --project | \
                --expires-within | --since)
                [[ ${COMP_WORDS[index + 1]} == = ]] && ((index++))
                ((index++))
                ;;
            -?*) ;;
            *)
                if [[ -z $command ]]; then command=${COMP_WORDS[index]}; else ((position++)); fi
                ;;
        esac
    done

    case $previous in
        --socket | --output | --token-file)
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            return
            ;;
        --format)
            mapfile -t COMPREPLY < <(compgen -W 'json text' -- "$word")
            return
            ;;
        --ttl | --grace | --expires-within)
            # A number, then its unit.
            if [[ $word =~ ^[0-9]+$ ]]; then COMPREPLY=("${word}s" "${word}m" "${word}h" "${word}d"); fi
            return
            ;;
        --application | --project | --since) return ;;
    esac

    local options=
    case $command in
        register | generate) options='--application --ttl --output' ;;
        rotate | obtain) options='--application --ttl --grace --output' ;;
        revoke) options='--application --token-file' ;;
        unregister) options='--application' ;;
        list) options='--application --project --expires-within' ;;
        watch) options='--since' ;;
        status) options='--prometheus' ;;
    esac

    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options $common" -- "$word")
    elif [[ -z $command ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$word")
    elif [[ $position == 0 && $command == @(introspect|fingerprint) ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    elif [[ $position == 0 && $command == call ]]; then
        mapfile -t COMPREPLY < <(compgen -W 'register generate rotate introspect revoke unregister list watch whoami
            status reload ping' -- "$word")
    fi
}

complete -F _scaem_token scaem-token
