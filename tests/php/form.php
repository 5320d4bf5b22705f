<?php
// Reads form bodies, one a line in hexadecimal, as PHP does, and writes what it read as JSON.

while (($line = fgets(STDIN)) !== false) {
    parse_str(hex2bin(rtrim($line, "\n")), $fields);
    echo json_encode($fields, JSON_THROW_ON_ERROR | JSON_PARTIAL_OUTPUT_ON_ERROR), "\n";
}
