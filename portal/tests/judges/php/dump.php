<?php

/** A value in a notation that two languages can compare byte by byte. */
function dump(mixed $value): string
{
    if (is_array($value)) {
        $entries = '';
        foreach ($value as $key => $entry) {
            $entries .= dump($key) . dump($entry);
        }
        return '[' . $entries . ']';
    }
    return match (true) {
        $value === null => 'n',
        $value === true => 't',
        $value === false => 'f',
        is_int($value) => 'i' . $value . ';',
        is_float($value) => 'd' . bin2hex(pack('E', $value)),
        is_string($value) => 's' . bin2hex($value) . ';',
    };
}
