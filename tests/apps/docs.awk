# Takes one app out of a page, as a reader would copy it: from the comment `<!-- app: NAME -->` up to the end
# of its Rust code. Code of rustdoc's own, which a reader does not see, is left out.
# Variables: app, folder. The first TOML stands in `dependencies`, a second one in `settings.toml`.
$0 == "<!-- app: " app " -->" { within = 1; next }
!within { next }
file == "" && /^```toml$/ { file = folder (tomls++ ? "/settings.toml" : "/dependencies"); next }
file == "" && /^```rust/ { file = folder "/code.rs"; next }
file != "" && /^```$/ { if (file ~ /code\.rs$/) exit; file = ""; next }
file != "" && !/^#( |$)/ { print > file }
