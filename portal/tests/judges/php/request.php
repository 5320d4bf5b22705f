<?php
// Answers a request with its parameters as a portal puts them together: the fields that PHP saw,
// or else what the body says by its content type, over those of the query.

error_reporting(0);

require __DIR__ . '/dump.php';

$params = array_replace($_GET, $_POST);
if ($_SERVER['REQUEST_METHOD'] === 'POST' && $_POST === []) {
    $body = trim(file_get_contents('php://input'));
    if (trim(explode(';', $_SERVER['CONTENT_TYPE'] ?? '')[0]) === 'application/json') {
        $fields = json_decode($body, true);
    } else {
        parse_str($body, $fields);
    }
    $params = array_replace($params, is_array($fields) ? $fields : []);
}
header('Content-Type: text/plain');
echo dump($params);
