<?php
// Reads request bodies, one a line, as a portal's PHP does, and tells what it got for the end of an
// activity: a JSON line with event token, return values and message, texts in hexadecimal.
//
// Written from the portal's rules and from nothing of this crate: a batch is decoded with
// json_decode, its command with parse_url and parse_str; a call of its own with json_decode. What a
// portal substitutes in a command is told as a finding.

const SUBSTITUTION = '/\$(result|next|total|time|error)([^\s]*)/i';

function told($value)
{
    if (is_array($value)) {
        $told = [];
        foreach ($value as $key => $inner) {
            $told['k' . bin2hex((string)$key)] = told($inner);
        }
        return $told;
    }
    return is_string($value) ? 's' . bin2hex($value) : gettype($value) . json_encode($value);
}

function substituted($value): bool
{
    if (is_array($value)) {
        return array_filter($value, 'substituted') !== [];
    }
    return is_string($value) && preg_match(SUBSTITUTION, $value) === 1;
}

while (($line = fgets(STDIN)) !== false) {
    $body = json_decode(rtrim($line, "\n"), true);
    $finding = '';
    if (isset($body['cmd'])) {
        $parts = parse_url(reset($body['cmd']));
        $finding = $parts['path'] === 'bizproc.event.send' ? '' : 'not an end';
        parse_str($parts['query'] ?? '', $params);
        if (substituted($params)) {
            $finding = 'something to substitute';
        }
        $body = $params;
    }
    echo json_encode([told($body), $finding]), "\n";
}
