//! An unpickler that builds plain containers and descriptions of tensors, and nothing else.

use super::global::Global;
use super::pickle::{Fault, Node, Storage, Tensor, Value};
use std::collections::HashMap;

/// Values pushed in all. A checkpoint with its optimiser has some ten thousand.
const MAX_VALUES: usize = 1_000_000;
/// Values on the stack at once. Python pushes dictionaries in batches of 2,000.
const MAX_STACK: usize = 100_000;
/// Containers within containers.
const MAX_DEPTH: u32 = 1000;
/// Dimensions of a tensor. Weights have four at most.
const MAX_DIMENSIONS: usize = 8;
/// Characters of a global's module and name.
const MAX_GLOBAL: usize = 256;

type Result<T> = std::result::Result<T, Fault>;

fn corrupt<T>(what: impl Into<String>) -> Result<T> {
    Err(Fault::Corrupt(what.into()))
}

fn refused<T>(what: impl Into<String>) -> Result<T> {
    Err(Fault::Refused(what.into()))
}

/// Runs a pickle's operations. Returns all nodes, and the value that the pickle is.
pub(super) fn unpickle(bytes: &[u8]) -> Result<(Vec<Node<'_>>, Value<'_>)> {
    let machine = Machine {
        rest: bytes,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        nodes: Vec::new(),
        depths: Vec::new(),
        pushed: 0,
    };
    machine.run()
}

struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Value<'a>>,
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    nodes: Vec<Node<'a>>,
    /// How deep each node nests, as of when its contents were added.
    depths: Vec<u32>,
    pushed: usize,
}

impl<'a> Machine<'a> {
    fn run(mut self) -> Result<(Vec<Node<'a>>, Value<'a>)> {
        if self.take(2)? != [0x80, 2] {
            return refused("the pickle is not of protocol 2, as PyTorch writes it");
        }
        loop {
            match self.byte()? {
                b'.' => break,
                b'N' => self.push(Value::None)?,
                0x88 => self.push(Value::Bool(true))?,
                0x89 => self.push(Value::Bool(false))?,
                b'K' => {
                    let value = self.byte()?;
                    self.push(Value::Int(value.into()))?;
                }
                b'M' => {
                    let value = u16::from_le_bytes(self.array()?);
                    self.push(Value::Int(value.into()))?;
                }
                b'J' => {
                    let value = i32::from_le_bytes(self.array()?);
                    self.push(Value::Int(value.into()))?;
                }
                0x8a => {
                    let length = self.byte()?;
                    let value = long(self.take(length.into())?);
                    self.push(value)?;
                }
                b'G' => {
                    self.take(8)?;
                    self.push(Value::Number)?;
                }
                b'X' => {
                    let length = u32::from_le_bytes(self.array()?);
                    let text = self.text(length as usize)?;
                    self.push(Value::Text(text))?;
                }
                b'c' => self.global()?,
                b'}' => self.push_node(Node::Dict(Vec::new()), 1)?,
                b']' => self.push_node(Node::List(Vec::new()), 1)?,
                b')' => self.tuple(0)?,
                0x85 => self.tuple(1)?,
                0x86 => self.tuple(2)?,
                0x87 => self.tuple(3)?,
                b't' => {
                    let count = self.above_mark()?;
                    self.tuple(count)?;
                }
                b'(' => {
                    if self.marks.len() >= MAX_DEPTH as usize {
                        return refused(format!("the pickle nests more than {MAX_DEPTH} deep"));
                    }
                    self.marks.push(self.stack.len());
                }
                b'a' => self.append(1)?,
                b'e' => {
                    let count = self.above_mark()?;
                    self.append(count)?;
                }
                b's' => self.set_items(2)?,
                b'u' => {
                    let count = self.above_mark()?;
                    self.set_items(count)?;
                }
                b'q' => {
                    let slot = self.byte()?;
                    self.remember(slot.into())?;
                }
                b'r' => {
                    let slot = u32::from_le_bytes(self.array()?);
                    self.remember(slot)?;
                }
                b'h' => {
                    let slot = self.byte()?;
                    self.recall(slot.into())?;
                }
                b'j' => {
                    let slot = u32::from_le_bytes(self.array()?);
                    self.recall(slot)?;
                }
                b'Q' => self.persistent()?,
                b'R' => self.reduce()?,
                b'b' => self.build()?,
                other => {
                    return refused(format!(
                        "the pickle has an operation that checkpoints do not need (0x{other:02x})"
                    ));
                }
            }
        }
        if !self.rest.is_empty() || self.stack.len() != 1 || !self.marks.is_empty() {
            return corrupt("the pickle does not end where it should");
        }
        Ok((self.nodes, self.stack[0]))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let Some((head, rest)) = self.rest.split_at_checked(count) else {
            return corrupt("the pickle ends in the middle of a value");
        };
        self.rest = rest;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn array<const COUNT: usize>(&mut self) -> Result<[u8; COUNT]> {
        let bytes = self.take(COUNT)?;
        Ok(std::array::from_fn(|index| bytes[index]))
    }

    fn text(&mut self, length: usize) -> Result<&'a str> {
        match std::str::from_utf8(self.take(length)?) {
            Ok(text) => Ok(text),
            Err(_) => corrupt("a string in the pickle is not UTF-8"),
        }
    }

    fn line(&mut self) -> Result<&'a str> {
        let Some(length) = self.rest.iter().take(MAX_GLOBAL).position(|byte| *byte == b'\n') else {
            return corrupt("a name in the pickle does not end");
        };
        let line = self.text(length)?;
        self.byte()?;
        Ok(line)
    }

    fn push(&mut self, value: Value<'a>) -> Result<()> {
        self.pushed += 1;
        if self.pushed > MAX_VALUES {
            return refused(format!("the pickle has more than {MAX_VALUES} values"));
        }
        if self.stack.len() >= MAX_STACK {
            return refused(format!("the pickle keeps more than {MAX_STACK} values open"));
        }
        self.stack.push(value);
        Ok(())
    }

    fn push_node(&mut self, node: Node<'a>, depth: u32) -> Result<()> {
        check_depth(depth)?;
        self.nodes.push(node);
        self.depths.push(depth);
        self.push(Value::Node(self.nodes.len() - 1))
    }

    /// The depth of what is about to contain `values`.
    fn depth_around(&self, values: &[Value<'a>]) -> u32 {
        let depth = |value: &Value<'a>| if let Value::Node(node) = value { self.depths[*node] } else { 0 };
        1 + values.iter().map(depth).max().unwrap_or(0)
    }

    /// How many values stand above the last mark, which goes.
    fn above_mark(&mut self) -> Result<usize> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.len() - mark),
            None => corrupt("the pickle uses a mark that it has not set"),
        }
    }

    /// Takes the topmost values; those below a mark are out of reach.
    fn pop(&mut self, count: usize) -> Result<Vec<Value<'a>>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(count) {
            Some(start) if start >= floor => Ok(self.stack.split_off(start)),
            _ => corrupt("the pickle uses values that it has not made"),
        }
    }

    fn pop_one(&mut self) -> Result<Value<'a>> {
        Ok(self.pop(1)?[0])
    }

    /// The value on top, which stays.
    fn top(&mut self) -> Result<Value<'a>> {
        let value = self.pop_one()?;
        self.stack.push(value);
        Ok(value)
    }

    fn tuple(&mut self, count: usize) -> Result<()> {
        let values = self.pop(count)?;
        let depth = self.depth_around(&values);
        self.push_node(Node::Tuple(values), depth)
    }

    fn append(&mut self, count: usize) -> Result<()> {
        let values = self.pop(count)?;
        let depth = self.depth_around(&values);
        if let Value::Node(node) = self.top()?
            && let Node::List(list) = &mut self.nodes[node]
        {
            list.extend(values);
            return self.deepen(node, depth);
        }
        corrupt("the pickle appends to something that is not a list")
    }

    fn set_items(&mut self, count: usize) -> Result<()> {
        let values = self.pop(count)?;
        let depth = self.depth_around(&values);
        if let Value::Node(node) = self.top()?
            && let Node::Dict(entries) = &mut self.nodes[node]
            && count.is_multiple_of(2)
        {
            entries.extend(values.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            return self.deepen(node, depth);
        }
        corrupt("the pickle sets entries of something that is not a dictionary")
    }

    fn deepen(&mut self, node: usize, depth: u32) -> Result<()> {
        self.depths[node] = self.depths[node].max(depth);
        check_depth(depth)
    }

    fn remember(&mut self, slot: u32) -> Result<()> {
        let value = self.top()?;
        self.memo.insert(slot, value);
        if self.memo.len() > MAX_VALUES {
            return refused(format!("the pickle remembers more than {MAX_VALUES} values"));
        }
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Result<()> {
        match self.memo.get(&slot) {
            Some(value) => self.push(*value),
            None => corrupt("the pickle recalls a value that it has not remembered"),
        }
    }

    fn global(&mut self) -> Result<()> {
        let (module, name) = (self.line()?, self.line()?);
        match Global::named(module, name) {
            Some(global) => self.push(Value::Global(global)),
            None => {
                refused(format!("the pickle names `{module}.{name}`, which no checkpoint of weights needs"))
            }
        }
    }

    fn tuple_of(&self, value: Value<'a>) -> Result<&[Value<'a>]> {
        if let Value::Node(node) = value
            && let Node::Tuple(values) = &self.nodes[node]
        {
            return Ok(values);
        }
        corrupt("the pickle has something else where a tuple has to be")
    }

    /// The numbers of a shape or of strides. Many tensors may share a tuple, and each gets a copy.
    fn sizes(&self, value: Value<'a>) -> Result<Vec<u64>> {
        let values = self.tuple_of(value)?;
        if values.len() > MAX_DIMENSIONS {
            return refused(format!("the pickle has a tensor of more than {MAX_DIMENSIONS} dimensions"));
        }
        values.iter().map(|value| size(*value)).collect()
    }

    /// A storage is pickled as `('storage', type, key, device, elements)`.
    fn persistent(&mut self) -> Result<()> {
        let reference = self.pop_one()?;
        let [
            Value::Text("storage"),
            Value::Global(Global::Storage(kind)),
            Value::Text(key),
            Value::Text(_),
            elements,
        ] = *self.tuple_of(reference)?
        else {
            return corrupt("the pickle refers to a storage in an unknown way");
        };
        let elements = size(elements)?;
        self.push_node(Node::Storage(Storage { kind, key, elements }), 1)
    }

    fn reduce(&mut self) -> Result<()> {
        let arguments = self.pop_one()?;
        match self.pop_one()? {
            Value::Global(Global::OrderedDict) => {
                if !self.tuple_of(arguments)?.is_empty() {
                    return refused("the pickle makes an OrderedDict from arguments");
                }
                self.push_node(Node::Dict(Vec::new()), 1)
            }
            Value::Global(Global::RebuildTensor) => self.rebuild_tensor(arguments),
            Value::Global(Global::RebuildParameter) => {
                let [tensor @ Value::Node(node), Value::Bool(_), _hooks] = *self.tuple_of(arguments)? else {
                    return corrupt("the pickle wraps something that is not a tensor as a parameter");
                };
                if !matches!(self.nodes[node], Node::Tensor(_)) {
                    return corrupt("the pickle wraps something that is not a tensor as a parameter");
                }
                self.push(tensor)
            }
            Value::Global(Global::Storage(_)) => refused("the pickle makes a storage from arguments"),
            _ => corrupt("the pickle calls something that is not a function"),
        }
    }

    fn rebuild_tensor(&mut self, arguments: Value<'a>) -> Result<()> {
        let [Value::Node(storage), offset, shape, strides, Value::Bool(_), _hooks] =
            *self.tuple_of(arguments)?
        else {
            return corrupt("the pickle describes a tensor in an unknown way");
        };
        let Node::Storage(storage) = self.nodes[storage] else {
            return corrupt("the pickle describes a tensor without a storage");
        };
        let tensor = Tensor {
            storage,
            offset: size(offset)?,
            shape: self.sizes(shape)?,
            strides: self.sizes(strides)?,
        };
        if tensor.shape.len() != tensor.strides.len() {
            return corrupt("the pickle describes a tensor with more or fewer strides than dimensions");
        }
        self.push_node(Node::Tensor(Box::new(tensor)), 1)
    }

    /// State dicts end with one that sets `_metadata`, which weights do not need.
    fn build(&mut self) -> Result<()> {
        let _state = self.pop_one()?;
        if let Value::Node(node) = self.top()?
            && let Node::Dict(_) = self.nodes[node]
        {
            return Ok(());
        }
        refused("the pickle sets the state of something that is not a dictionary")
    }
}

fn check_depth(depth: u32) -> Result<()> {
    if depth > MAX_DEPTH { refused(format!("the pickle nests more than {MAX_DEPTH} deep")) } else { Ok(()) }
}

fn size(value: Value<'_>) -> Result<u64> {
    match value {
        Value::Int(value) if value >= 0 => Ok(value as u64),
        _ => corrupt("the pickle has something else where a size has to be"),
    }
}

/// A little-endian two's complement integer of any length.
fn long<'a>(bytes: &[u8]) -> Value<'a> {
    if bytes.len() > 8 {
        return Value::Number;
    }
    let sign = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [sign; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(wide))
}
