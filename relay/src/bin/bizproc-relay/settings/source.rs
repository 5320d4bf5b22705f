//! The source of a value: an environment variable, or otherwise the file.

use std::collections::BTreeMap;
use std::fs;

use toml::{Table, Value};

/// The values that were given and not used yet.
pub(super) struct Source {
    table: Table,
    variables: BTreeMap<String, String>,
    used: Vec<&'static str>,
}

impl Source {
    pub(super) fn new(table: Table, variables: BTreeMap<String, String>) -> Self {
        Source { table, variables, used: vec![super::CONFIG] }
    }

    /// A value as text, and its name in the variable or file. An empty variable counts as not set.
    fn text(
        &mut self,
        key: &'static str,
        variable: &'static str,
    ) -> Result<Option<(&'static str, String)>, String> {
        self.used.push(variable);
        // A wrong value in the file is an error, also if a variable overrides it.
        let given = match self.take(key) {
            None => None,
            Some(Value::String(text)) => Some((key, text)),
            Some(_) => return Err(format!("{key}: expected a text in quotes")),
        };
        let variable_value = self.variables.get(variable).filter(|value| !value.trim().is_empty());
        Ok(variable_value.map(|value| (variable, value.clone())).or(given))
    }

    /// A value that is not a secret. An error repeats it.
    pub(super) fn get<T>(
        &mut self,
        key: &'static str,
        variable: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        let Some((name, text)) = self.text(key, variable)? else { return Ok(None) };
        parse(text.trim()).map(Some).map_err(|why| format!("{name} is {text:?}: {why}"))
    }

    /// A secret, and the name of its setting.
    pub(super) fn secret(
        &mut self,
        key: &'static str,
        variable: &'static str,
    ) -> Result<Option<(&'static str, String)>, String> {
        self.text(key, variable)
    }

    /// The contents of a file.
    pub(super) fn file(
        &mut self,
        key: &'static str,
        variable: &'static str,
    ) -> Result<Option<String>, String> {
        self.get(key, variable, |path| {
            fs::read_to_string(path).map_err(|error| format!("it cannot be read: {error}"))
        })
    }

    /// All values of a table. Names of values in nested tables contain dots.
    pub(super) fn table(&mut self, key: &'static str) -> Result<Vec<(String, Value)>, String> {
        let mut values = Vec::new();
        match self.take(key) {
            None => {}
            Some(Value::Table(table)) => flatten("", table, &mut values),
            Some(_) => return Err(format!("{key}: expected a table, [{key}]")),
        }
        Ok(values)
    }

    /// The variables that are not the relay's own.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        let others = self.variables.iter().filter(|(name, _)| !self.used.contains(&name.as_str()));
        others.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A value that was not used has no effect, so it is an error.
    pub(super) fn finish(self) -> Result<(), String> {
        if let Some((key, value)) = self.table.iter().next() {
            let name = match value {
                Value::Table(table) => {
                    table.keys().next().map_or(key.clone(), |inner| format!("{key}.{inner}"))
                }
                _ => key.clone(),
            };
            return Err(format!("there is no setting `{name}`"));
        }
        let own = |name: &&String| name.starts_with("BIZPROC_RELAY_");
        let unknown = self.variables.keys().filter(own);
        match unknown.into_iter().find(|name| !self.used.contains(&name.as_str())) {
            Some(name) => Err(format!("there is no setting for the variable {name}")),
            None => Ok(()),
        }
    }

    /// Takes a value out of the file's table. So only unknown values are left in the end.
    fn take(&mut self, key: &str) -> Option<Value> {
        match key.split_once('.') {
            None => self.table.remove(key),
            Some((section, name)) => {
                let Some(Value::Table(table)) = self.table.get_mut(section) else { return None };
                let value = table.remove(name);
                if table.is_empty() {
                    self.table.remove(section);
                }
                value
            }
        }
    }
}

fn flatten(before: &str, table: Table, values: &mut Vec<(String, Value)>) {
    for (name, value) in table {
        let name = format!("{before}{name}");
        match value {
            Value::Table(table) => flatten(&format!("{name}."), table, values),
            value => values.push((name, value)),
        }
    }
}
