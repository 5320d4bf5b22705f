<?php
// Reads request bodies, one a line, as a portal's PHP does, and tells what it got: for each body a
// JSON line with a list of commands, [event token, message, findings], texts in hexadecimal.
//
// Written from the portal's rules and from nothing of this crate: a batch is decoded with
// json_decode, each command with parse_url and parse_str; a call of its own with json_decode.

const SUBSTITUTION = '/\$(result|next|total|time|error)([^\s]*)/i';
const EXPRESSION = '/\{=\s*[a-z0-9_]+\s*:/i';
const TIMESTAMP = '/\[\/?timestamp/i';

function findings(string $message): array
{
    $found = [];
    foreach ([SUBSTITUTION, EXPRESSION, TIMESTAMP] as $pattern) {
        // With and without the Unicode flag: which one a portal has is not known.
        if (preg_match($pattern, $message) || preg_match($pattern . 'u', $message)) {
            $found[] = $pattern;
        }
    }
    if (preg_last_error() !== PREG_NO_ERROR) {
        $found[] = 'not UTF-8';
    }
    if (empty($message)) {
        $found[] = 'empty';
    }
    if (trim($message) === '') {
        $found[] = 'blank';
    }
    return $found;
}

function command(array $params): array
{
    // Names without regard to case, as the portal reads them.
    $params = array_change_key_case($params, CASE_UPPER);
    $token = $params['EVENT_TOKEN'] ?? null;
    $message = $params['LOG_MESSAGE'] ?? null;
    if (!is_string($token) || !is_string($message)) {
        return [null, null, ['not a string']];
    }
    $extra = array_diff(array_keys($params), ['EVENT_TOKEN', 'LOG_MESSAGE', 'RETURN_VALUES']);
    $found = findings($message);
    if ($extra) {
        $found[] = 'further parameters';
    }
    return [bin2hex($token), bin2hex($message), $found];
}

while (($line = fgets(STDIN)) !== false) {
    $body = json_decode(rtrim($line, "\n"), true);
    $commands = [];
    if (!is_array($body)) {
        $commands[] = [null, null, ['not JSON: ' . json_last_error_msg()]];
    } elseif (isset($body['cmd'])) {
        if ((bool)$body['halt']) {
            $commands[] = [null, null, ['halts']];
        }
        foreach ($body['cmd'] as $key => $call) {
            $parts = parse_url($call);
            if ($key !== 'c' . count($commands) || ($parts['path'] ?? '') !== 'bizproc.activity.log') {
                $commands[] = [null, null, ['not a call']];
                continue;
            }
            parse_str($parts['query'] ?? '', $params);
            $commands[] = command($params);
        }
    } else {
        $commands[] = command($body);
    }
    echo json_encode($commands), "\n";
}
