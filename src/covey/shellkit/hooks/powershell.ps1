# Names are taken from .covey.toml by pattern, and nothing in that file is ever evaluated.
$global:__covey = @{
    Pwd = ''; Stamp = ''; File = ''; Fault = ''; Project = ''; Environment = ''; Seen = $null
    Now = New-Object 'System.Collections.Generic.Dictionary[string,string]'
}

function global:__covey_find {
    $state = $global:__covey
    $here = (Get-Location -PSProvider FileSystem).ProviderPath
    $state.Pwd = $here
    $state.File = [IO.Path]::Combine($here, '.covey.toml')
    $found = @{ project = ''; environment = '' }
    $fault = ''
    $above = $here
    while ($above -and -not [IO.File]::Exists([IO.Path]::Combine($above, '.covey.toml'))) {
        $above = [IO.Path]::GetDirectoryName($above)
    }
    if ($above) {
        $state.File = [IO.Path]::Combine($above, '.covey.toml')
        $count = 0
        foreach ($line in [IO.File]::ReadLines($state.File)) {
            $count += 1
            if ($count -gt 64 -or $line -match '^[ \t]*\[') { break }
            if ($line -cnotmatch '^[ \t]*(project|environment)[ \t]*=(.*)$') { continue }
            $key = $Matches[1]
            $pattern = '^[ \t]*(["''])([a-z0-9][a-z0-9._-]{0,62})\1[ \t\r]*(#.*)?$'
            if ($found[$key] -or $Matches[2] -cnotmatch $pattern) {
                $fault = 'is malformed: covey env list names the line'
                break
            }
            $found[$key] = $Matches[2]
        }
        if (-not $fault -and $found.environment -and -not $found.project) {
            $fault = 'names an environment without its project'
        }
    }
    if ($fault) {
        $found = @{ project = ''; environment = '' }
        if ($fault -ne $state.Fault) {
            [Console]::Error.WriteLine("covey: the .covey.toml of this directory $fault")
        }
    }
    $state.Fault = $fault
    $state.Project = $found.project
    $state.Environment = $found.environment
}

# The rendered file is a list of calls of this: NAME VALUE.
function global:__covey_set([string]$Name, [string]$Value) {
    $state = $global:__covey
    [void]$state.Seen.Add($Name)
    $held = [Environment]::GetEnvironmentVariable($Name)
    if ($state.Now.ContainsKey($Name)) {
        # A value that was changed by hand in this shell stays.
        if ([string]$held -cne $state.Now[$Name]) { return }
    } elseif ($null -ne $held) {
        [Environment]::SetEnvironmentVariable("__COVEY_WAS_$Name", $held)
    }
    [Environment]::SetEnvironmentVariable($Name, $Value)
    $state.Now[$Name] = $Value
}

function global:__covey_drop([string]$Name) {
    $state = $global:__covey
    $held = [Environment]::GetEnvironmentVariable($Name)
    $was = [Environment]::GetEnvironmentVariable("__COVEY_WAS_$Name")
    if ([string]$held -ceq $state.Now[$Name]) {
        [Environment]::SetEnvironmentVariable($Name, $was)
    }
    [Environment]::SetEnvironmentVariable("__COVEY_WAS_$Name", $null)
    [void]$state.Now.Remove($Name)
}

function global:__covey_update([string]$Stamp) {
    $state = $global:__covey
    $before = "$($state.Project)@$($state.Environment)"
    __covey_find
    if (-not $Stamp) { return }
    if ($Stamp -ceq $state.Stamp -and $before -ceq "$($state.Project)@$($state.Environment)") { return }
    $state.Seen = New-Object 'System.Collections.Generic.HashSet[string]'
    if ($Stamp -cne 'locked') {
        $chosen = $null
        foreach ($name in "$($state.Project)@$($state.Environment)", "$($state.Project)@", '@') {
            $path = [IO.Path]::Combine($global:__covey_dir, 'powershell', $name)
            if ([IO.File]::Exists($path)) { $chosen = $path; break }
        }
        if (-not $chosen) { return }
        . ([ScriptBlock]::Create([IO.File]::ReadAllText($chosen)))
    }
    foreach ($name in @($state.Now.Keys)) {
        if (-not $state.Seen.Contains($name)) { __covey_drop $name }
    }
    $names = if ($state.Now.Count) { " $($state.Now.Keys -join ' ') " } else { $null }
    [Environment]::SetEnvironmentVariable('__COVEY_NAMES', $names)
    $state.Stamp = $Stamp
}

function global:__covey_prompt {
    $state = $global:__covey
    $file = [IO.Path]::Combine($global:__covey_dir, 'stamp')
    $stamp = ''
    try { $stamp = [IO.File]::ReadAllText($file).Trim() } catch { $stamp = '' }
    $here = (Get-Location -PSProvider FileSystem).ProviderPath
    $edited = [IO.File]::GetLastWriteTimeUtc($state.File) -gt [IO.File]::GetLastWriteTimeUtc($file)
    if ($stamp -cne $state.Stamp -or $here -cne $state.Pwd -or $edited) { __covey_update $stamp }
}

# A shell inside a shell takes over what the outer one had set.
foreach ($name in ([string]$env:__COVEY_NAMES).Split(' ')) {
    if ($name -cmatch '^[A-Za-z_][A-Za-z0-9_]*$') {
        $global:__covey.Now[$name] = [string][Environment]::GetEnvironmentVariable($name)
    }
}

if (-not (Test-Path Function:\__covey_inner_prompt)) {
    Copy-Item Function:\prompt Function:\global:__covey_inner_prompt
    function global:prompt {
        $succeeded = $?
        $code = $global:LASTEXITCODE
        __covey_prompt
        $global:LASTEXITCODE = $code
        # The user's prompt sees `$?` as the last command left it.
        if (-not $succeeded) { Write-Error '' -ErrorAction Ignore }
        __covey_inner_prompt
    }
}
__covey_prompt
