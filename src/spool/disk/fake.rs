//! A file system in memory that can lose power, fill up and fail.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Disk, DiskFile, Lock, Status};

/// The file system as one process sees it.
#[derive(Clone)]
pub(in crate::spool) struct FakeDisk {
    world: Arc<Mutex<World>>,
    process: u32,
}

type Id = usize;

#[derive(Default)]
struct World {
    nodes: Vec<Node>,
    locked: BTreeMap<Id, u32>,
    dead: BTreeSet<u32>,
    processes: u32,
    /// The size of the disk: how many bytes all files may have together.
    capacity: Option<usize>,
    /// The largest number of bytes that one call writes.
    at_once: Option<usize>,
    /// The calls with these names fail.
    failing: Vec<(&'static str, ErrorKind)>,
    clock: u64,
}

#[derive(Clone, Default)]
struct Node {
    /// The entries of a directory. `None`: it is a file.
    entries: Option<BTreeMap<String, Id>>,
    /// The entries that survive power loss.
    synced_entries: BTreeMap<String, Id>,
    data: Vec<u8>,
    synced: Vec<u8>,
    changed: u64,
}

impl FakeDisk {
    pub(in crate::spool) fn new() -> Self {
        let root = Node { entries: Some(BTreeMap::new()), ..Node::default() };
        let world = World { nodes: vec![root], ..World::default() };
        FakeDisk { world: Arc::new(Mutex::new(world)), process: 0 }
    }

    /// The same file system as another process sees it.
    pub(in crate::spool) fn process(&self) -> FakeDisk {
        let mut world = self.world();
        world.processes += 1;
        FakeDisk { world: self.world.clone(), process: world.processes }
    }

    /// Ends this process: it does nothing any more, and its locks are free.
    pub(in crate::spool) fn kill(&self) {
        let mut world = self.world();
        world.dead.insert(self.process);
        world.locked.retain(|_, holder| *holder != self.process);
    }

    /// Ends all processes, and drops data that was not synced. Files keep a part of the data that was appended to
    /// them: this number of 256 parts.
    pub(in crate::spool) fn lose_power(&self, kept: u8) {
        let mut world = self.world();
        let processes = 0..=world.processes;
        world.dead.extend(processes);
        world.locked.clear();
        for node in &mut world.nodes {
            if node.entries.is_some() {
                node.entries = Some(node.synced_entries.clone());
            } else if node.data.starts_with(&node.synced) {
                let unsynced = node.data.len() - node.synced.len();
                node.data.truncate(node.synced.len() + unsynced * usize::from(kept) / 256);
            } else {
                node.data = node.synced.clone();
            }
        }
    }

    pub(in crate::spool) fn set_capacity(&self, bytes: Option<usize>) {
        self.world().capacity = bytes;
    }

    pub(in crate::spool) fn write_at_once(&self, bytes: Option<usize>) {
        self.world().at_once = bytes;
    }

    /// From now on, calls of these names fail.
    pub(in crate::spool) fn fail(&self, failing: &[(&'static str, ErrorKind)]) {
        self.world().failing = failing.to_vec();
    }

    /// Changes a file without the spool's knowledge.
    pub(in crate::spool) fn change(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.world();
        let id = world.find(path).expect("a file of this name");
        change(&mut world.nodes[id].data);
    }

    /// Bytes of all files that have a name.
    pub(in crate::spool) fn bytes(&self) -> usize {
        self.world().bytes()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no panic with the lock held")
    }

    fn call(&self, name: &'static str) -> io::Result<MutexGuard<'_, World>> {
        let mut world = self.world();
        if world.dead.contains(&self.process) {
            return Err(ErrorKind::Other.into());
        }
        world.clock += 1;
        match world.failing.iter().find(|(failing, _)| *failing == name) {
            Some((_, kind)) => Err((*kind).into()),
            None => Ok(world),
        }
    }
}

impl World {
    fn entry(&self, path: &Path) -> io::Result<(Id, String)> {
        let parent = self.find(path.parent().ok_or(ErrorKind::InvalidInput)?)?;
        let name =
            path.file_name().and_then(|name| name.to_str()).ok_or(ErrorKind::InvalidInput)?;
        Ok((parent, name.to_owned()))
    }

    fn find(&self, path: &Path) -> io::Result<Id> {
        let mut id = 0;
        for component in path.components() {
            if let Component::Normal(name) = component {
                let entries = self.nodes[id].entries.as_ref().ok_or(ErrorKind::NotADirectory)?;
                let name = name.to_str().ok_or(ErrorKind::InvalidInput)?;
                id = *entries.get(name).ok_or(ErrorKind::NotFound)?;
            }
        }
        Ok(id)
    }

    fn entries(&mut self, id: Id) -> io::Result<&mut BTreeMap<String, Id>> {
        self.nodes[id].entries.as_mut().ok_or_else(|| ErrorKind::NotADirectory.into())
    }

    fn make(&mut self, path: &Path, dir: bool) -> io::Result<Id> {
        let (parent, name) = self.entry(path)?;
        let id = self.nodes.len();
        let changed = self.clock;
        let entries = self.entries(parent)?;
        if entries.contains_key(&name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        entries.insert(name, id);
        let entries = dir.then(BTreeMap::new);
        self.nodes.push(Node { entries, changed, ..Node::default() });
        Ok(id)
    }

    fn remove(&mut self, path: &Path, dir: bool) -> io::Result<()> {
        let id = self.find(path)?;
        match &self.nodes[id].entries {
            Some(entries) if dir && !entries.is_empty() => {
                return Err(ErrorKind::DirectoryNotEmpty.into());
            }
            entries if entries.is_some() != dir => return Err(ErrorKind::IsADirectory.into()),
            _ => (),
        }
        let (parent, name) = self.entry(path)?;
        self.entries(parent)?.remove(&name);
        Ok(())
    }

    fn is_linked(&self, id: Id) -> bool {
        let mut todo = vec![0];
        while let Some(at) = todo.pop() {
            if at == id {
                return true;
            }
            todo.extend(self.nodes[at].entries.iter().flat_map(|entries| entries.values()));
        }
        false
    }

    fn bytes(&self) -> usize {
        let files = (0..self.nodes.len()).filter(|&id| self.is_linked(id));
        files.map(|id| self.nodes[id].data.len()).sum()
    }
}

impl Disk for FakeDisk {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.call("make_dir")?.make(path, true).map(|_| ())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut world = self.call("list")?;
        let id = world.find(path)?;
        Ok(world.entries(id)?.keys().cloned().collect())
    }

    fn status(&self, path: &Path) -> io::Result<Status> {
        let world = self.call("status")?;
        let node = &world.nodes[world.find(path)?];
        Ok(Status {
            is_dir: node.entries.is_some(),
            bytes: node.data.len() as u64,
            changed: time(node.changed),
            mode: None,
            owner: None,
        })
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let id = self.call("create")?.make(path, false)?;
        Ok(Box::new(FakeFile { disk: self.clone(), id }))
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let world = self.call("read")?;
        let data = &world.nodes[world.find(path)?].data;
        Ok(data[..data.len().min(most as usize)].to_vec())
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        let mut world = self.call("sync")?;
        let id = world.find(path)?;
        world.nodes[id].synced = world.nodes[id].data.clone();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.call("rename")?;
        let id = world.find(from)?;
        let (parent, name) = world.entry(from)?;
        world.entries(parent)?.remove(&name);
        let (parent, name) = world.entry(to)?;
        world.entries(parent)?.insert(name, id);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.call("remove_file")?.remove(path, false)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.call("remove_dir")?.remove(path, true)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.call("sync_dir")?;
        let id = world.find(path)?;
        let entries = world.entries(id)?.clone();
        world.nodes[id].synced_entries = entries;
        Ok(())
    }

    fn lock(&self, path: &Path, create: bool) -> io::Result<Option<Box<dyn Lock>>> {
        let mut world = self.call("lock")?;
        let id = match world.find(path) {
            Err(error) if create && error.kind() == ErrorKind::NotFound => world.make(path, false),
            found => found,
        }?;
        if world.locked.contains_key(&id) {
            return Ok(None);
        }
        world.locked.insert(id, self.process);
        Ok(Some(Box::new(FakeLock { disk: self.clone(), id })))
    }
}

struct FakeLock {
    disk: FakeDisk,
    id: Id,
}

impl Lock for FakeLock {}

impl Drop for FakeLock {
    fn drop(&mut self) {
        let mut world = self.disk.world();
        if world.locked.get(&self.id) == Some(&self.disk.process) {
            world.locked.remove(&self.id);
        }
    }
}

struct FakeFile {
    disk: FakeDisk,
    id: Id,
}

impl DiskFile for FakeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut world = self.disk.call("write")?;
        let room = world.capacity.map_or(usize::MAX, |most| most.saturating_sub(world.bytes()));
        let at_once = world.at_once.unwrap_or(usize::MAX);
        let written = bytes.len().min(at_once).min(room);
        if written == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        world.nodes[self.id].data.extend_from_slice(&bytes[..written]);
        Ok(written)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut world = self.disk.call("sync")?;
        let node = &mut world.nodes[self.id];
        node.synced = node.data.clone();
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut world = self.disk.call("truncate")?;
        world.nodes[self.id].data.truncate(length as usize);
        Ok(())
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(self.disk.call("is_linked")?.is_linked(self.id))
    }
}

fn time(clock: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(clock)
}
