//! What a pickle contains: plain containers and descriptions of tensors.
//!
//! Values live in one arena and refer to each other by number, so neither reading nor dropping them recurses, and a
//! value that is used twice is stored once.

use super::global::{Global, StorageType};
use super::unpickle::unpickle;

/// Why a pickle was not read.
#[derive(Debug)]
pub(super) enum Fault {
    /// The stream of operations is broken.
    Corrupt(String),
    /// It asks for something that is not on the list, or too much of it.
    Refused(String),
}

/// A value; containers are numbers of nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// A float, or an integer too large for 64 bits; no tensor is described by one.
    Number,
    Text(&'a str),
    Global(Global),
    Node(usize),
}

/// A container or a described tensor.
#[derive(Debug)]
pub(super) enum Node<'a> {
    Tuple(Vec<Value<'a>>),
    List(Vec<Value<'a>>),
    Dict(Vec<(Value<'a>, Value<'a>)>),
    Storage(Storage<'a>),
    Tensor(Box<Tensor<'a>>),
}

/// A storage as the pickle names it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Storage<'a> {
    pub kind: StorageType,
    /// Its member is `data/<key>`.
    pub key: &'a str,
    pub elements: u64,
}

/// A tensor as the pickle describes it; nothing has been checked against the storage.
#[derive(Debug)]
pub(super) struct Tensor<'a> {
    pub storage: Storage<'a>,
    pub offset: u64,
    pub shape: Vec<u64>,
    pub strides: Vec<u64>,
}

/// Everything a pickle contains.
pub(super) struct Pickle<'a> {
    nodes: Vec<Node<'a>>,
    root: Value<'a>,
}

impl<'a> Pickle<'a> {
    /// # Errors
    /// A [`Fault`], before anything large has been made.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Fault> {
        let (nodes, root) = unpickle(bytes)?;
        Ok(Pickle { nodes, root })
    }

    /// The value that the pickle is.
    pub fn root(&self) -> Value<'a> {
        self.root
    }

    /// A dictionary's entries, in the order they were set.
    pub fn entries(&self, value: Value<'a>) -> Option<&[(Value<'a>, Value<'a>)]> {
        match value {
            Value::Node(node) => match &self.nodes[node] {
                Node::Dict(entries) => Some(entries),
                _ => None,
            },
            _ => None,
        }
    }

    /// A dictionary's entry of that name.
    pub fn entry(&self, value: Value<'a>, name: &str) -> Option<Value<'a>> {
        let entries = self.entries(value)?;
        entries.iter().rev().find(|(key, _)| *key == Value::Text(name)).map(|(_, value)| *value)
    }

    pub fn tensor(&self, value: Value<'a>) -> Option<&Tensor<'a>> {
        match value {
            Value::Node(node) => match &self.nodes[node] {
                Node::Tensor(tensor) => Some(tensor),
                _ => None,
            },
            _ => None,
        }
    }
}
