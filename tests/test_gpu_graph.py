"""The traced training step on paper: every operation has a GPU kernel for its types; none loops, branches or asks Python."""

import importlib

import pytest

from angiomorph import networks
from angiomorph.backend import tf
from angiomorph.training.config import Sampling, TrainingConfig
from angiomorph.training.objective import build_network, compile_model, wrap_network
from benchmarks.training import training_step

pytestmark = pytest.mark.slow

# Looked up by name, as angiomorph.backend has to import TensorFlow first.
get_registered_kernels_for_op = importlib.import_module("tensorflow.python.framework.kernels").get_registered_kernels_for_op
op_definition = importlib.import_module("tensorflow.python.framework.op_def_registry").get

LOOPS = ("While", "StatelessWhile", "Map", "For")
BRANCHES = ("If", "StatelessIf", "Switch", "RefSwitch", "Case", "StatelessCase")  # a GPU waits until the host has read which
CONVOLUTIONS = ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter")
PYTHON = ("PyFunc", "PyFuncStateless", "EagerPyFunc")
# Placeholders and calls vanish when TensorFlow makes a graph ready to run; what is called is walked in the library.
STRUCTURE = ("Placeholder", "PartitionedCall", "StatefulPartitionedCall", "_Arg", "_Retval")


def kernels_on_gpu(op):
    """Return the kernels that run where the data are: for the GPU, or (DEFAULT) for any device."""
    return [kernel for kernel in get_registered_kernels_for_op(op).kernel if kernel.device_type in ("GPU", "DEFAULT")]


def type_of(node, name):
    """Return the type that a node gives its attribute, or that the operation gives it by default."""
    if name in node.attr:
        return node.attr[name].type
    return next(attr.default_value.type for attr in op_definition(node.op).attr if attr.name == name)


def fits(kernel, node):
    return all(type_of(node, rule.name) in rule.allowed_values.list.type for rule in kernel.constraint)


def findings(concrete):
    """Return what in a concrete function, and in all that it calls, would not stay on a GPU."""
    definition = concrete.graph.as_graph_def()
    groups = [("", definition.node), *((each.signature.name, each.node_def) for each in definition.library.function)]
    found = []
    for group, nodes in groups:
        for node in nodes:
            reason = reason_against(node)
            if reason:
                found.append(f"{node.op}: {reason} ({group}/{node.name})")
    return found


def reason_against(node):
    if node.op in LOOPS:
        return "loop"
    if node.op in PYTHON:
        return "Python"
    if node.op in BRANCHES:
        return "branch"
    if "CPU" in node.device.upper():
        return f"pinned to {node.device}"
    if node.op not in STRUCTURE and not any(fits(kernel, node) for kernel in kernels_on_gpu(node.op)):
        return "no GPU kernel"
    return None


@pytest.fixture(autouse=True, scope="module")
def _build_with_cuda_kernels():
    if not kernels_on_gpu("Conv2D"):
        pytest.skip(f"TensorFlow {tf.__version__} is built without GPU kernels here")


def test_angiomorphs_training_step_stays_on_the_gpu():
    concrete = training_step.graph(training_step.angiomorph(32, 2, shared=True))
    ops = {node.op for function in concrete.graph.as_graph_def().library.function for node in function.node_def}
    ops |= {node.op for node in concrete.graph.as_graph_def().node}
    expected = {"Conv2D", "Conv2DBackpropFilter", "Conv2DBackpropInput", "GatherV2", "MaxPool", "MaxPoolGrad"}
    assert expected <= ops  # forward, warp, loss and gradients are all in what was walked
    assert findings(concrete) == []


@pytest.mark.parametrize("compute", ["float16", "bfloat16"])
def test_the_step_in_mixed_precision_stays_on_the_gpu(compute):
    concrete = training_step.graph(training_step.angiomorph(32, 2, shared=True, mixed_precision=compute))
    assert findings(concrete) == []
    definition = concrete.graph.as_graph_def()
    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    types = {kind: [tf.as_dtype(type_of(node, "T")).name for node in nodes if node.op == kind] for kind in CONVOLUTIONS}
    # In float32 the flow's convolution alone; 4 of the others are transposed where features double.
    expected = {"Conv2D": (11, 4), "Conv2DBackpropInput": (11, 4), "Conv2DBackpropFilter": (11, 4)}
    for kind, (each, transposed) in expected.items():
        assert types[kind].count("float32") == 1, kind
        assert types[kind].count(compute) == len(types[kind]) - 1 >= each - transposed, kind


def test_with_lambda_of_any_kind_only_whether_they_agree_is_left_to_the_host():
    found = findings(training_step.graph(training_step.angiomorph(32, 2, shared=False)))
    assert {each.partition(" (")[0] for each in found} == {"If: branch", "StatelessIf: branch"}


@pytest.mark.parametrize("image_loss", ["mse", "minmax"])
def test_the_other_losses_stay_on_the_gpu(image_loss):
    config = TrainingConfig(image_loss=image_loss, sampling=Sampling(size=32), enc=(4, 4), dec=(4, 4, 4), hyp_units=(4,))
    model = build_network(config)
    networks.promise_one_hyper(model)
    compile_model(model, config)
    element = training_step.angiomorph(32, 2, shared=True)[1]
    assert findings(training_step.graph((model, element))) == []


@pytest.mark.parametrize(("image_loss", "contrast_weight"), [("vle", 0.0), ("truth", 20.0)])
def test_the_step_at_two_sizes_stays_on_the_gpu(image_loss, contrast_weight):
    sampling, small = Sampling(size=32, finer=True), {"enc": (4, 4), "dec": (4, 4, 4), "hyp_units": (4,)}
    config = TrainingConfig(image_loss=image_loss, contrast_weight=contrast_weight, sampling=sampling, **small)
    model = build_network(config)
    networks.promise_one_hyper(model)
    compile_model(model, config)
    frames, hyper = tf.zeros([2, 64, 64, 1]), tf.zeros([2, 1])
    clean = [frames] if image_loss == "truth" else []
    targets = [tf.zeros([2, 32, 32, 1 + len(clean)]), tf.zeros([2, 32, 32, 2])] * 2
    element = (frames, frames, hyper, *clean, tf.zeros([2, 2], tf.int32)), tuple(targets), (hyper[:, 0],) * 4
    assert findings(training_step.graph((wrap_network(model, config), element))) == []


def test_voxelmorphs_loops_over_the_samples_are_found():
    found = findings(training_step.graph(training_step.hypermorph(32, 2)))
    loops = [each for each in found if each.endswith(")") and ": loop" in each]
    assert len(loops) >= 2 * 12  # 11 hyper-convolutions and the warp, forward and backward


def traced(function):
    return tf.function(function).get_concrete_function(tf.TensorSpec([1, 8, 8, 1]))


def on_the_cpu(image):
    with tf.device("/CPU:0"):
        return image + 1


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda image: tf.py_function(lambda x: x, [image], tf.float32), "EagerPyFunc: Python"),
        (on_the_cpu, "AddV2: pinned to"),
        (lambda image: tf.cond(tf.reduce_any(image > 0), lambda: image, lambda: -image), "StatelessIf: branch"),
        (lambda image: tf.image.extract_glimpse(image, [2, 2], [[0.0, 0.0]]), "ExtractGlimpseV2: no GPU kernel"),
        (lambda image: tf.nn.max_pool2d(tf.cast(image, tf.int32), 2, 2, "SAME"), "MaxPool: no GPU kernel"),
    ],
)
def test_what_leaves_the_gpu_is_found(function, expected):
    found = findings(traced(function))
    assert any(each.startswith(expected) for each in found), found


def test_a_graph_of_gpu_operations_has_no_findings():
    assert findings(traced(lambda image: tf.reduce_mean(tf.square(image)))) == []
