//! BERT as a graph of onnxruntime: from vectors of tokens to vectors of tokens in their surroundings.
//!
//! Matrices are multiplied as bytes: weights rounded once, with a scale for each column, what flows through rounded as it
//! comes. Everything else stays at 32 bits. Start at [`session`].
//!
//! Measured with all-MiniLM-L6-v2 on two cores of an AMD EPYC (AVX-512 with VNNI), two lanes, the 1,400 abstracts of
//! Cranfield: 21,300 tokens a second; with normalisation and sum in one operator (`SkipLayerNormalization`) 17,300, since
//! that one is not vectorised. Order of results kept: nDCG@10 of whole abstracts, Cranfield and CISI, 0.3996 and 0.4220,
//! at 32 bits 0.3995 and 0.4193; with one scale for a whole matrix, as `quantize_dynamic` has it, 0.3866 and 0.4028.

use ort::editor::{Graph, Model, Node, ONNX_DOMAIN, Opset};
use ort::environment::Environment;
use ort::memory::Allocator;
use ort::operator::Attribute;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{
    Outlet, PrimitiveTensorElementType, Shape, SymbolicDimensions, Tensor, TensorElementType,
    ValueType,
};

use super::weights::Weights;
use crate::request::BertModel;

/// onnxruntime's own operators.
const MICROSOFT: &str = "com.microsoft";
/// Versions of the two sets of operators: with `Split` into equal parts, and the only one there is.
const OPSETS: [(&str, u32); 2] = [(ONNX_DOMAIN, 20), (MICROSOFT, 1)];
/// Largest weight, as a byte: with more, two products with bytes up to 255 overflow the 16 bits in which processors without
/// VNNI add them, and one text would have other vectors there. No order of results was worse for it.
const LARGEST: f32 = 64.0;

/// Any of the reasons why a graph cannot be made.
pub(super) type GraphError = Box<dyn std::error::Error>;

/// The network, ready to compute with the thread that calls it.
pub(super) fn session(
    environment: &Environment,
    weights: &Weights,
    model: &BertModel,
) -> Result<Session, GraphError> {
    let mut drawing = Drawing {
        graph: Graph::new()?,
        weights,
        model,
        nodes: 0,
    };
    drawing.graph.set_inputs([drawing.vectors("embedded")])?;
    let mut x = drawing.norm("embedded", "token_embd_norm")?;
    drawing.numbers("heads", &[0, -1, model.heads as i64, head_len(model)])?;
    drawing.numbers("joined", &[0, -1, model.width as i64])?;
    for layer in 0..model.layers {
        x = drawing.layer(&x, &format!("blk.{layer}"))?;
    }
    let last = Node::new("Identity", ONNX_DOMAIN, "last", [&x], ["states"], [])?;
    drawing.graph.add_node(last)?;
    drawing.graph.set_outputs([drawing.vectors("states")])?;
    let [usual, own] = OPSETS.map(|(domain, version)| Opset::new(domain, version));
    let mut whole = Model::new([usual?, own?])?;
    whole.set_graph(drawing.graph)?;
    // All but the last steps of optimisation, which would bring the slow normalisation back.
    let options = Session::builder(environment)?
        .with_intra_threads(1)
        .map_err(|error| error.to_string())?
        .with_optimization_level(GraphOptimizationLevel::Level1)
        .map_err(|error| error.to_string())?;
    Ok(whole.into_session(&options)?)
}

fn head_len(model: &BertModel) -> i64 {
    (model.width / model.heads) as i64
}

/// A graph that is being made.
struct Drawing<'w> {
    graph: Graph,
    weights: &'w Weights,
    model: &'w BertModel,
    nodes: usize,
}

impl Drawing<'_> {
    fn layer(&mut self, x: &str, name: &str) -> Result<String, GraphError> {
        let mixed = self.attention(x, name)?;
        let mixed = self.dense(&mixed, &[&format!("{name}.attn_output")], 1.0)?;
        let mixed = self.node("Add", ONNX_DOMAIN, &[&mixed, x], [])?;
        let x = self.norm(&mixed, &format!("{name}.attn_output_norm"))?;
        let inner = self.dense(&x, &[&format!("{name}.ffn_up")], 1.0)?;
        let inner = self.node("Gelu", MICROSOFT, &[&inner], [])?;
        let outer = self.dense(&inner, &[&format!("{name}.ffn_down")], 1.0)?;
        let sum = self.node("Add", ONNX_DOMAIN, &[&outer, &x], [])?;
        self.norm(&sum, &format!("{name}.layer_output_norm"))
    }

    fn attention(&mut self, x: &str, name: &str) -> Result<String, GraphError> {
        let parts = ["attn_q", "attn_k", "attn_v"].map(|part| format!("{name}.{part}"));
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        // Queries are made so short that their products with keys need no division.
        let shortened = 1.0 / (head_len(self.model) as f32).sqrt();
        let all = self.dense(x, &parts, shortened)?;
        let split = [
            Attribute::new("axis", -1_i64)?,
            Attribute::new("num_outputs", 3_i64)?,
        ];
        let parts = self.nodes("Split", ONNX_DOMAIN, &[&all], 3, split)?;
        let mut heads = Vec::new();
        for (part, order) in parts.iter().zip([[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]]) {
            let part = self.node("Reshape", ONNX_DOMAIN, &[part, "heads"], [])?;
            heads.push(self.transposed(&part, &order)?);
        }
        let scores = self.node("MatMul", ONNX_DOMAIN, &[&heads[0], &heads[1]], [])?;
        let axis = [Attribute::new("axis", -1_i64)?];
        let shares = self.node("Softmax", ONNX_DOMAIN, &[&scores], axis)?;
        let mixed = self.node("MatMul", ONNX_DOMAIN, &[&shares, &heads[2]], [])?;
        let mixed = self.transposed(&mixed, &[0, 2, 1, 3])?;
        self.node("Reshape", ONNX_DOMAIN, &[&mixed, "joined"], [])
    }

    fn transposed(&mut self, x: &str, order: &[i64]) -> Result<String, GraphError> {
        let order = [Attribute::new("perm", order.to_vec())?];
        self.node("Transpose", ONNX_DOMAIN, &[x], order)
    }

    fn norm(&mut self, x: &str, name: &str) -> Result<String, GraphError> {
        let (scale, shift) = (format!("{name}.weight"), format!("{name}.bias"));
        for name in [&scale, &shift] {
            let values = self.weights.read(name)?;
            self.numbers(name, &values)?;
        }
        let attributes = [
            Attribute::new("axis", -1_i64)?,
            Attribute::new("epsilon", self.model.epsilon)?,
        ];
        self.node(
            "LayerNormalization",
            ONNX_DOMAIN,
            &[x, &scale, &shift],
            attributes,
        )
    }

    /// `x` times the matrices of these layers side by side, plus their biases. The first one counts `first` times.
    fn dense(&mut self, x: &str, names: &[&str], first: f32) -> Result<String, GraphError> {
        let (mut rows, mut bias) = (Vec::new(), Vec::new());
        let mut times = first;
        for name in names {
            rows.extend(
                self.weights
                    .read(&format!("{name}.weight"))?
                    .iter()
                    .map(|w| w * times),
            );
            bias.extend(
                self.weights
                    .read(&format!("{name}.bias"))?
                    .iter()
                    .map(|b| b * times),
            );
            times = 1.0;
        }
        let (bytes, scales) = rounded(&rows, bias.len());
        let [weight, scale, shift] =
            ["bytes", "scales", "bias"].map(|part| format!("{}.{part}", names[0]));
        self.tensor(
            &weight,
            &[(bytes.len() / bias.len()) as i64, bias.len() as i64],
            &bytes,
        )?;
        self.numbers(&scale, &scales)?;
        self.numbers(&shift, &bias)?;
        // The empty name stands for zero points, of which symmetric weights have none.
        let inputs = [x, &weight, &scale, "", &shift];
        self.node("DynamicQuantizeMatMul", MICROSOFT, &inputs, [])
    }

    fn vectors(&self, name: &str) -> Outlet {
        let kind = ValueType::Tensor {
            ty: TensorElementType::Float32,
            shape: Shape::new([1, -1, self.model.width as i64]),
            dimension_symbols: SymbolicDimensions::new(["", "tokens", ""].map(str::to_owned)),
        };
        Outlet::new(name, kind)
    }

    /// A list that does not change.
    fn numbers<T>(&mut self, name: &str, values: &[T]) -> Result<(), GraphError>
    where
        T: PrimitiveTensorElementType + std::fmt::Debug + Copy,
    {
        self.tensor(name, &[values.len() as i64], values)
    }

    fn tensor<T>(&mut self, name: &str, shape: &[i64], values: &[T]) -> Result<(), GraphError>
    where
        T: PrimitiveTensorElementType + std::fmt::Debug + Copy,
    {
        let mut tensor =
            Tensor::<T>::new(&Allocator::default(), Shape::new(shape.iter().copied()))?;
        tensor.extract_tensor_mut().1.copy_from_slice(values);
        Ok(self.graph.add_initializer(name, tensor, false)?)
    }

    fn node<const N: usize>(
        &mut self,
        kind: &str,
        domain: &str,
        inputs: &[&str],
        attributes: [Attribute; N],
    ) -> Result<String, GraphError> {
        let mut outputs = self.nodes(kind, domain, inputs, 1, attributes)?;
        outputs.pop().ok_or_else(|| "a node without output".into())
    }

    fn nodes<const N: usize>(
        &mut self,
        kind: &str,
        domain: &str,
        inputs: &[&str],
        count: usize,
        attributes: [Attribute; N],
    ) -> Result<Vec<String>, GraphError> {
        self.nodes += 1;
        let name = format!("{kind}.{}", self.nodes);
        let outputs: Vec<String> = (0..count).map(|part| format!("{name}.{part}")).collect();
        let node = Node::new(kind, domain, &name, inputs, &outputs[..], attributes)?;
        self.graph.add_node(node)?;
        Ok(outputs)
    }
}

/// Rows of a matrix as the columns of one of bytes, with the scale of each.
fn rounded(rows: &[f32], count: usize) -> (Vec<i8>, Vec<f32>) {
    let len = rows.len() / count;
    let mut bytes = vec![0; rows.len()];
    let mut scales = Vec::with_capacity(count);
    for (column, row) in rows.chunks_exact(len).enumerate() {
        let largest = row
            .iter()
            .fold(0_f32, |largest, value| largest.max(value.abs()));
        let scale = if largest > 0.0 {
            largest / LARGEST
        } else {
            1.0
        };
        for (index, value) in row.iter().enumerate() {
            bytes[index * count + column] = (value / scale).round() as i8;
        }
        scales.push(scale);
    }
    (bytes, scales)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns_of_bytes_that_are_near_them() {
        let rows = [0.5, -1.0, 0.25, 0.0, 0.0, 0.0];
        let (bytes, scales) = rounded(&rows, 2);
        assert_eq!(bytes, [32, 0, -64, 0, 16, 0]);
        for (column, row) in rows.chunks_exact(3).enumerate() {
            for (index, value) in row.iter().enumerate() {
                let back = f32::from(bytes[index * 2 + column]) * scales[column];
                assert!(
                    (back - value).abs() <= scales[column] / 2.0,
                    "{back} for {value}"
                );
            }
        }
    }
}
