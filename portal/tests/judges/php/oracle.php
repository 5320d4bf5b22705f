<?php
// PHP's own functions, asked line by line: a question is a word and hexadecimal arguments, an
// answer is a value in the notation of `dump`. What the portal does with them beyond one call (the
// references of a batch, its order, its answer) is written here a second time, after the
// description in the portal's README and in PHP, where it was invented.

// Warnings are what the cases are made for; whatever ends the script is to be seen.
error_reporting(E_ERROR);
ini_set('display_errors', 'stderr');

require __DIR__ . '/dump.php';

/** What a text becomes that refers to earlier results of its batch. */
function resolve(string $text, array $sections, string $variant): mixed
{
    $names = implode('|', array_keys($sections));
    preg_match_all('/\$(' . $names . ')([^\s]*)/i', $text, $references, PREG_SET_ORDER);
    foreach ($references as [$whole, $name, $run]) {
        if (!preg_match_all('/\[([^\]]+)\]/', $run, $keys)) {
            continue;
        }
        $found = $sections[$name];
        foreach ($keys[1] as $key) {
            if (!isset($found[$key])) {
                break;
            }
            $found = $found[$key];
        }
        if ($whole === $text) {
            return $found;
        }
        if ($variant === 'older' || is_string($found) || is_int($found) || is_float($found)) {
            $text = str_replace($whole, $found, $text);
        }
    }
    return $text;
}

function substitute(array $params, array $sections, string $variant): array
{
    foreach ($params as $key => $value) {
        $params[$key] = is_array($value)
            ? substitute($value, $sections, $variant)
            : resolve($value, $sections, $variant);
    }
    return $params;
}

/** Method and parameters of a command. */
function command(string $command, array $sections, string $variant): array
{
    $url = parse_url($command);
    parse_str($url['query'] ?? '', $params);
    return [strtolower($url['path'] ?? ''), substitute($params, $sections, $variant)];
}

/** Outcome of a log call: an error's code, or the note that is written (null for a blank one). */
function log_call(array $params, string $token): array
{
    $params = array_change_key_case($params, CASE_UPPER);
    if (($params['EVENT_TOKEN'] ?? null) !== $token) {
        return ['error' => 'ACCESS_DENIED', 'error_description' => 'Access denied!'];
    }
    if (empty($params['LOG_MESSAGE'])) {
        return ['error' => 'ERROR_EMPTY_LOG_MESSAGE', 'error_description' => 'Empty log message!'];
    }
    return ['note' => $params['LOG_MESSAGE']];
}

/**
 * What a batch of log calls answers (nothing if it dies), and the notes that it writes. Each
 * command takes the same `time`; only `token` is a good one.
 */
function batch(array $body, array $time, string $token, string $variant): array
{
    $body = array_change_key_case($body, CASE_UPPER);
    $halt = (bool) ($body['HALT'] ?? false);
    $sections = ['result' => [], 'next' => [], 'total' => [], 'time' => [], 'error' => []];
    $notes = [];
    $count = 0;
    $died = false;
    foreach (is_array($body['CMD'] ?? null) ? $body['CMD'] : [] as $key => $command) {
        if (++$count > 50) {
            $outcome = [
                'error' => 'ERROR_BATCH_LENGTH_EXCEEDED',
                'error_description' => 'Max batch length exceeded',
            ];
        } elseif (!is_string($command)) {
            continue;
        } else {
            try {
                [$method, $params] = command($command, $sections, $variant);
            } catch (TypeError) {
                $died = true;
                break;
            }
            $outcome = match ($method) {
                'bizproc.activity.log' => array_key_exists('token', $params)
                    ? ['error' => 'ACCESS_DENIED', 'error_description' => 'Link check failed']
                    : log_call($params, $token),
                'batch', 'download', 'upload' => [
                    'error' => 'ERROR_BATCH_METHOD_NOT_ALLOWED',
                    'error_description' => 'Method is not allowed for batch usage',
                ],
                default => [
                    'error' => 'ERROR_METHOD_NOT_FOUND',
                    'error_description' => 'Method not found!',
                ],
            };
        }
        if (isset($outcome['error'])) {
            $sections['error'][$key] = $outcome;
            $sections['error_description'][$key] = $outcome['error_description'];
            if ($halt) {
                break;
            }
        } else {
            $notes[] = is_string($outcome['note']) ? $outcome['note'] : null;
            $sections['result'][$key] = true;
            $sections['time'][$key] = $time;
        }
    }
    $answer = [
        'result' => $sections['result'],
        'result_error' => $sections['error'],
        'result_total' => $sections['total'],
        'result_next' => $sections['next'],
        'result_time' => $sections['time'],
    ];
    return [$died ? null : json_encode($answer), ...$notes];
}

function decoded(string $json): mixed
{
    return json_decode($json, true);
}

function answer(string $question, array $args): mixed
{
    switch ($question) {
        case 'parse_url':
            $url = parse_url($args[0]);
            return $url === false ? false : [$url['path'] ?? null, $url['query'] ?? null];
        case 'parse_str':
            parse_str($args[0], $fields);
            return $fields;
        case 'trim':
            return trim($args[0]);
        case 'urlencode':
            return urlencode($args[0]);
        case 'urldecode':
            return urldecode($args[0]);
        case 'empty':
            $value = decoded($args[0]);
            return [empty($value), !(bool) $value];
        case 'json_decode':
            $value = decoded($args[0]);
            return json_last_error() === JSON_ERROR_NONE ? [$value] : [];
        case 'json_encode':
            return json_encode(decoded($args[0]));
        case 'float':
            $float = unpack('E', $args[0])[1];
            return [(string) $float, json_encode($float)];
        case 'field':
            return array_change_key_case(decoded($args[0]), CASE_UPPER)[$args[1]] ?? null;
        case 'command':
            try {
                return command($args[0], decoded($args[1]), $args[2]);
            } catch (TypeError) {
                return 'TypeError';
            }
        case 'batch':
            $body = decoded($args[0]);
            return batch(is_array($body) ? $body : [], decoded($args[1]), $args[2], $args[3]);
    }
    throw new Exception("There is no question $question");
}

while (($line = fgets(STDIN)) !== false) {
    $words = explode(' ', rtrim($line, "\n"));
    $question = array_shift($words);
    echo dump(answer($question, array_map('hex2bin', $words))), "\n";
}
