"""Functions of Keras in its tested versions: name, digest, versions that have it.

Written by `make test-keras RECORD=1`, from versions in which killed trainings ended identical.
"""

from typing import Final

TESTED: Final = (
    "3.5.0",
    "3.6.0",
    "3.7.0",
    "3.8.0",
    "3.9.2",
    "3.10.0",
    "3.11.3",
    "3.12.1",
    "3.13.2",
    "3.14.1",
    "3.15.1",
    "3.16.0.dev2026102704",
)

LEGACY_TESTED: Final = (
    "2.12.0",
    "2.13.1",
    "2.14.0",
    "2.15.0",
    "2.16.0",
    "2.17.0",
    "2.18.0",
    "2.19.0",
    "2.20.1",
    "2.21.0",
)

JAX_TESTED: Final = ("3.7.0", "3.10.0", "3.12.1", "3.14.1", "3.15.1")

TORCH_TESTED: Final = ("3.7.0", "3.10.0", "3.12.1", "3.15.1")

KNOWN: Final[dict[str, dict[str, str]]] = {
    "backend.tensorflow.trainer:TensorFlowTrainer.fit": {
        "d2f2a27cd3f4": "3.5.0",
        "bed99658af47": "3.6.0",
        "d7b8797b1e26": "3.7.0 3.8.0 3.9.2",
        "4fe8cc12f567": "3.10.0",
        "11753303be2a": "3.11.3",
        "971a5c6a9e39": "3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704",
    },
    "backend.tensorflow.trainer:TensorFlowTrainer.evaluate": {
        "d897e3f9a0fd": "3.5.0",
        "a49aacb78831": "3.6.0",
        "86c9c3efe282": "3.7.0 3.8.0",
        "3ee471084849": "3.9.2 3.10.0",
        "d900a9035109": "3.11.3 3.12.1 3.13.2",
        "c8634f4f3c6f": "3.14.1 3.15.1 3.16.0.dev2026102704",
    },
    "backend.tensorflow.trainer:TensorFlowTrainer.make_train_function": {
        "015c5f3a1325": "3.5.0 3.6.0",
        "9d38eabb11f0": "3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704",
    },
    "backend.tensorflow.trainer:TensorFlowTrainer._make_function": {
        "absent": "3.5.0 3.6.0",
        "40930435c002": "3.7.0 3.8.0 3.9.2 3.10.0 3.11.3",
        "2096dceeaa0e": "3.12.1 3.13.2 3.14.1 3.15.1",
        "0039bd21c338": "3.16.0.dev2026102704",
    },
    "backend.tensorflow.trainer:TensorFlowTrainer._maybe_symbolic_build": {
        "45a155583096": "3.5.0 3.6.0",
        "0fa1f21bff76": "3.7.0 3.8.0 3.9.2 3.10.0",
        "807553b16911": "3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704",
    },
    "backend.tensorflow.trainer:TFEpochIterator.__init__": {
        "f0c6f3bcdf20": "3.5.0 3.6.0",
        "f891984612ee": "3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704",
    },
    "backend.tensorflow.trainer:TFEpochIterator._get_iterator": {
        "cd9a70d502cb": "3.5.0 3.6.0",
        "fd9b9cf04780": "3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704",
    },
    "backend.tensorflow.trainer:TFEpochIterator.__next__": {
        "absent": "3.5.0 3.6.0",
        "e51c88c94219": "3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704",
    },
    "backend.tensorflow.trainer:TFEpochIterator.enumerate_epoch": {
        "281486f82663": "3.5.0 3.6.0",
        "absent": "3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704",
    },
    "backend.tensorflow.trainer:TFEpochIterator.catch_stop_iteration": {
        "0cd53f8b37ac": "3.5.0 3.6.0",
        "2e24f085ecdb": "3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704",
    },
    "backend.tensorflow.trainer:TFEpochIterator.tf_sync": {
        "c99a8d7dd9bc": "3.5.0 3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704"
    },
    "trainers.epoch_iterator:EpochIterator.__init__": {
        "715e508a9201": "3.5.0 3.6.0",
        "ee261123559f": "3.7.0 3.8.0 3.9.2",
        "6782075e1194": "3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704",
    },
    "trainers.epoch_iterator:EpochIterator.reset": {
        "absent": "3.5.0 3.6.0",
        "abbd11179141": "3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704",
    },
    "trainers.epoch_iterator:EpochIterator._enumerate_iterator": {
        "absent": "3.5.0 3.6.0",
        "74568842b29d": "3.7.0 3.8.0 3.9.2 3.10.0",
        "5decdbc562ff": "3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704",
    },
    "trainers.epoch_iterator:EpochIterator.__iter__": {
        "absent": "3.5.0 3.6.0",
        "659f50c1a35a": "3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704",
    },
    "trainers.epoch_iterator:EpochIterator.catch_stop_iteration": {
        "absent": "3.5.0 3.6.0",
        "2fbe43d9bf46": "3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1",
        "f822b98189a2": "3.16.0.dev2026102704",
    },
    "trainers.epoch_iterator:EpochIterator.num_batches": {
        "7ecc3a3dba25": "3.5.0 3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704"
    },
    "trainers.trainer:Trainer._symbolic_build": {
        "7151125513c3": "3.5.0 3.6.0",
        "bd5fcdb27af4": "3.7.0 3.8.0 3.9.2 3.10.0",
        "de7c20ea9613": "3.11.3 3.12.1 3.13.2",
        "a6b9c3cbbe37": "3.14.1 3.15.1",
        "5ff563af1dc4": "3.16.0.dev2026102704",
    },
    "trainers.trainer:Trainer._get_metrics_result_or_logs": {
        "746f17a82a57": "3.5.0 3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704"
    },
    "trainers.trainer:Trainer._should_eval": {
        "f8b72fc89b16": "3.5.0 3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704"
    },
    "callbacks.callback_list:CallbackList.on_train_begin": {
        "5cbe185ee1d1": "3.5.0 3.6.0",
        "4f18b0ea859f": "3.7.0 3.8.0 3.9.2 3.10.0 3.11.3",
        "9077a5c424d6": "3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704",
    },
    "callbacks.callback_list:CallbackList.on_epoch_begin": {
        "d87dcc119a7c": "3.5.0 3.6.0",
        "6f5525fbdbbf": "3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704",
    },
    "callbacks.callback_list:CallbackList.on_epoch_end": {
        "867040a00b54": "3.5.0",
        "ddae342f85d5": "3.6.0",
        "01f0a79af46c": "3.7.0 3.8.0 3.9.2 3.10.0 3.11.3",
        "d876fe98edc7": "3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704",
    },
    "trainers.data_adapters.array_data_adapter:ArrayDataAdapter.__init__": {
        "0703f3658ded": "3.5.0 3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3",
        "9d2c645f071a": "3.12.1 3.13.2 3.14.1 3.15.1",
        "266a37390267": "3.16.0.dev2026102704",
    },
    "trainers.data_adapters.array_data_adapter:ArrayDataAdapter.get_tf_dataset": {
        "0a5d81d7edf5": "3.5.0 3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1",
        "afdd130eb710": "3.16.0.dev2026102704",
    },
    "trainers.data_adapters.array_data_adapter:ArrayDataAdapter.num_batches": {
        "4c90eb131a9d": "3.5.0 3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1",
        "4ce0ca896d56": "3.16.0.dev2026102704",
    },
    "trainers.data_adapters.array_data_adapter:ArrayDataAdapter.batch_size": {
        "0d58e22b9c79": "3.5.0 3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704"
    },
    "trainers.data_adapters.array_slicing:convert_to_sliceable": {
        "374b06ec3345": "3.5.0 3.6.0",
        "f7a1d0c3773a": "3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1",
        "ad614b5656e4": "3.16.0.dev2026102704",
    },
    "trainers.data_adapters.array_slicing:train_validation_split": {
        "f6be2ab99786": "3.5.0 3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704"
    },
    "trainers.data_adapters.generator_data_adapter:peek_and_restore": {
        "5e8e9d2bb98e": "3.5.0 3.6.0",
        "799588046fd2": "3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704",
    },
    "trainers.data_adapters.generator_data_adapter:GeneratorDataAdapter.__init__": {
        "9dea3eef3a1b": "3.5.0 3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1",
        "dba8816b1b8e": "3.15.1 3.16.0.dev2026102704",
    },
    "trainers.data_adapters.generator_data_adapter:GeneratorDataAdapter.get_tf_dataset": {
        "4340613a64c1": "3.5.0 3.6.0",
        "e939c52112a1": "3.7.0 3.8.0 3.9.2 3.10.0 3.11.3",
        "5d10721ded95": "3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704",
    },
    "trainers.data_adapters.generator_data_adapter:GeneratorDataAdapter.num_batches": {
        "fc8eae09ada6": "3.5.0 3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704"
    },
    "trainers.data_adapters.py_dataset_adapter:PyDatasetAdapter.__init__": {
        "956d0b0624ed": "3.5.0",
        "fac091c4c9f4": "3.6.0",
        "7a984c88aa00": "3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1",
        "8f0e4d7dc2f5": "3.16.0.dev2026102704",
    },
    "trainers.data_adapters.py_dataset_adapter:PyDatasetAdapter._get_iterator": {
        "f2a9c4667b03": "3.5.0",
        "5035a58c3c5f": "3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704",
    },
    "trainers.data_adapters.py_dataset_adapter:PyDatasetAdapter._finite_generator": {
        "absent": "3.5.0",
        "86c47a88011d": "3.6.0 3.7.0",
        "a01fe882949c": "3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1",
        "fb60727ffaad": "3.16.0.dev2026102704",
    },
    "trainers.data_adapters.py_dataset_adapter:PyDatasetAdapter._infinite_generator": {
        "absent": "3.5.0",
        "ed2fed11375e": "3.6.0 3.7.0",
        "b8ef94933859": "3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1",
        "db84c25c63bf": "3.16.0.dev2026102704",
    },
    "trainers.data_adapters.py_dataset_adapter:PyDatasetAdapter._finite_enqueuer_generator": {
        "absent": "3.5.0",
        "57463341aeaa": "3.6.0 3.7.0",
        "a67805a77d85": "3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1",
        "f933a6ce588f": "3.16.0.dev2026102704",
    },
    "trainers.data_adapters.py_dataset_adapter:PyDatasetAdapter._infinite_enqueuer_generator": {
        "absent": "3.5.0",
        "5c0a109ea4c3": "3.6.0 3.7.0",
        "3d35ce3c29f4": "3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1",
        "435ecd88f287": "3.16.0.dev2026102704",
    },
    "trainers.data_adapters.py_dataset_adapter:PyDatasetAdapter.get_tf_dataset": {
        "c30935ad68a8": "3.5.0",
        "d2574450d6f5": "3.6.0",
        "376f37e3920f": "3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704",
    },
    "trainers.data_adapters.py_dataset_adapter:PyDatasetAdapter.on_epoch_begin": {
        "23191d154ca8": "3.5.0",
        "008090d9a424": "3.6.0",
        "943bc6542783": "3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1",
        "9f6bb9e7be83": "3.16.0.dev2026102704",
    },
    "trainers.data_adapters.py_dataset_adapter:PyDatasetAdapter.on_epoch_end": {
        "de5044f9889b": "3.5.0 3.6.0",
        "26d6addfad65": "3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1",
        "cf14c9f78e7e": "3.16.0.dev2026102704",
    },
    "trainers.data_adapters.py_dataset_adapter:PyDatasetAdapter.num_batches": {
        "7b79d8304ef9": "3.5.0 3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1",
        "c23dda3a0852": "3.16.0.dev2026102704",
    },
    "trainers.data_adapters.py_dataset_adapter:PyDatasetEnqueuer.__init__": {
        "bccb812d4682": "3.5.0",
        "708aea31acfd": "3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1",
        "fbddd4b7220e": "3.16.0.dev2026102704",
    },
    "trainers.data_adapters.py_dataset_adapter:PyDatasetEnqueuer.start": {
        "6aa2d420669b": "3.5.0",
        "2a2214979f51": "3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1",
        "59541566258b": "3.16.0.dev2026102704",
    },
    "trainers.data_adapters.py_dataset_adapter:PyDatasetEnqueuer.stop": {
        "34a0feb76c29": "3.5.0",
        "4f091f931fe1": "3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704",
    },
    "trainers.data_adapters.py_dataset_adapter:OrderedEnqueuer.__init__": {
        "af549cbb3e54": "3.5.0",
        "371c1e3ff2e1": "3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1",
        "337376e0fc43": "3.16.0.dev2026102704",
    },
    "trainers.data_adapters.py_dataset_adapter:OrderedEnqueuer._run": {
        "9f0cc2941bc2": "3.5.0",
        "480288ece722": "3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1",
        "13215bb1011c": "3.16.0.dev2026102704",
    },
    "trainers.data_adapters.py_dataset_adapter:OrderedEnqueuer.get": {
        "ce839e76ab78": "3.5.0",
        "b78ab6047b20": "3.6.0",
        "c4a86c5acc5a": "3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704",
    },
    "trainers.data_adapters.tf_dataset_adapter:TFDatasetAdapter.__init__": {
        "f34ad3e68b03": "3.5.0 3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1",
        "68b575f37178": "3.16.0.dev2026102704",
    },
    "trainers.data_adapters.tf_dataset_adapter:TFDatasetAdapter.get_tf_dataset": {
        "19aa76262922": "3.5.0 3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704"
    },
    "trainers.data_adapters.tf_dataset_adapter:TFDatasetAdapter.num_batches": {
        "9b5cc25e6e70": "3.5.0 3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.1 3.13.2 3.14.1 3.15.1 3.16.0.dev2026102704"
    },
    "engine.training:Model.fit": {
        "a44e39c7fb5d": "2.12.0",
        "72c7aa3e8ab7": "2.13.1",
        "0a132c60f02b": "2.14.0",
        "2fbbd39a1709": "2.15.0",
        "bbd65df3c726": "2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0",
    },
    "engine.training:Model.evaluate": {
        "ae0245079b9b": "2.12.0",
        "09e0032b61c9": "2.13.1",
        "7ae25c829eee": "2.14.0",
        "8b0d948a67de": "2.15.0",
        "063483f036f3": "2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0",
    },
    "engine.training:Model.make_train_function": {
        "839daca748c1": "2.12.0 2.13.1",
        "d0385a580188": "2.14.0",
        "5961c352f5cc": "2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0",
    },
    "engine.training:Model.make_test_function": {
        "f86228795b4a": "2.12.0 2.13.1",
        "3b5d7cc15c70": "2.14.0",
        "67363dc9165e": "2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0",
    },
    "engine.training:Model._maybe_load_initial_counters_from_ckpt": {
        "5fa413c594f3": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "engine.training:Model._validate_and_get_metrics_result": {
        "dc8f81eedd9c": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "engine.training:Model._should_eval": {
        "f8b72fc89b16": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "engine.training:Model.reset_metrics": {
        "4c8c015f91db": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "engine.data_adapter:DataHandler.__init__": {
        "d4e70d7f1e2a": "2.12.0",
        "d46f03da4226": "2.13.1",
        "e1dbd25d4a9b": "2.14.0 2.15.0 2.16.0",
        "4b540a9f800e": "2.17.0 2.18.0 2.19.0 2.20.1 2.21.0",
    },
    "engine.data_adapter:DataHandler._configure_dataset_and_inferred_steps": {
        "d0202de187c3": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "engine.data_adapter:DataHandler.enumerate_epochs": {
        "4bb7d8043c16": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "engine.data_adapter:DataHandler._truncate_execution_to_epoch": {
        "35d181301329": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "engine.data_adapter:DataHandler.catch_stop_iteration": {
        "64d53a77f7a2": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "engine.data_adapter:DataHandler.steps": {
        "4fbebf6c8370": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "engine.data_adapter:DataHandler._infer_steps": {
        "68fccfec0739": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0",
        "6f0e65b8ecc4": "2.20.1 2.21.0",
    },
    "engine.data_adapter:select_data_adapter": {
        "035113c455ba": "2.12.0 2.13.1 2.14.0 2.15.0",
        "bbc95775c996": "2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0",
    },
    "callbacks:CallbackList.on_train_begin": {
        "157894740242": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "callbacks:CallbackList.on_epoch_begin": {
        "1041f12b3b33": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "callbacks:CallbackList.on_epoch_end": {
        "b2de0d59d04d": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "backend:RandomGenerator._maybe_init": {
        "045a206027dd": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "backend:RandomGenerator._create_seed": {
        "1054e03a3559": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0",
        "868e5251ff2e": "2.19.0 2.20.1 2.21.0",
    },
    "optimizers.optimizer:Optimizer.apply_gradients": {
        "465a56af4735": "2.12.0",
        "9bf79530b20c": "2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0",
    },
    "optimizers.optimizer:Optimizer._build_learning_rate": {
        "absent": "2.12.0",
        "870b0b3227a1": "2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0",
    },
    "optimizers.legacy.optimizer_v2:OptimizerV2.apply_gradients": {
        "daf17845a3ff": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "optimizers.legacy.optimizer_v2:OptimizerV2._create_hypers": {
        "d4d43d90f993": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "engine.data_adapter:TensorLikeDataAdapter.__init__": {
        "a9c64cb3b60a": "2.12.0",
        "9cbbab811bc4": "2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1",
        "d82d8167a77d": "2.21.0",
    },
    "engine.data_adapter:TensorLikeDataAdapter.slice_inputs": {
        "7ee0eb211eb8": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1",
        "5514abbc6238": "2.21.0",
    },
    "engine.data_adapter:TensorLikeDataAdapter.should_recreate_iterator": {
        "4a0ef3ac19fd": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "engine.data_adapter:GeneratorDataAdapter.__init__": {
        "9760268b326e": "2.12.0",
        "8935c7129935": "2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0",
    },
    "engine.data_adapter:GeneratorDataAdapter._handle_multiprocessing": {
        "0532eeeda82a": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "engine.data_adapter:GeneratorDataAdapter.should_recreate_iterator": {
        "4a0ef3ac19fd": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "engine.data_adapter:KerasSequenceAdapter.__init__": {
        "f0338965f1d1": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "engine.data_adapter:KerasSequenceAdapter._handle_multiprocessing": {
        "126cc0e9ab8c": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "engine.data_adapter:KerasSequenceAdapter.get_size": {
        "db75f1c22e05": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "engine.data_adapter:KerasSequenceAdapter.should_recreate_iterator": {
        "f46ad9924e95": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "engine.data_adapter:KerasSequenceAdapter.on_epoch_end": {
        "551745d0ba09": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "utils.data_utils:OrderedEnqueuer._run": {
        "4f7baf7e2ea2": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "utils.data_utils:OrderedEnqueuer.get": {
        "04c8ef6c7125": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "engine.data_adapter:DatasetAdapter.__init__": {
        "79250021c590": "2.12.0",
        "fc379c7c7724": "2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0",
    },
    "engine.data_adapter:DatasetAdapter.get_dataset": {
        "1f811e2b1157": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0 2.20.1 2.21.0"
    },
    "engine.data_adapter:DatasetAdapter.should_recreate_iterator": {
        "7f27931ea1fb": "2.12.0 2.13.1 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0",
        "0e2756e1e79e": "2.20.1 2.21.0",
    },
    "backend.jax.trainer:JAXTrainer.fit": {
        "a7cc368de37b": "3.7.0",
        "cccbc9e9da78": "3.10.0",
        "cf0be8677d56": "3.12.1 3.14.1 3.15.1",
    },
    "backend.jax.trainer:JAXTrainer.evaluate": {
        "ad3283fbd044": "3.7.0",
        "190018dc2beb": "3.10.0",
        "4166545ef248": "3.12.1",
        "884378afab2d": "3.14.1 3.15.1",
    },
    "backend.jax.trainer:JAXTrainer.make_train_function": {
        "8f5b116c17bc": "3.7.0 3.10.0",
        "8ada5ad34005": "3.12.1",
        "b2bbd13b0ede": "3.14.1 3.15.1",
    },
    "backend.jax.trainer:JAXTrainer._make_function": {
        "2f56b51ff459": "3.7.0 3.10.0",
        "07c19ee26d74": "3.12.1 3.14.1 3.15.1",
    },
    "backend.jax.trainer:JAXTrainer.jax_state_sync": {
        "12963c0dd6ba": "3.7.0 3.10.0 3.12.1 3.14.1 3.15.1"
    },
    "backend.jax.trainer:JAXTrainer._get_jax_state": {
        "31a2b87e6668": "3.7.0 3.10.0 3.12.1 3.14.1 3.15.1"
    },
    "backend.jax.trainer:JAXEpochIterator.__next__": {
        "e51c88c94219": "3.7.0 3.10.0 3.12.1 3.14.1 3.15.1"
    },
    "backend.jax.trainer:JAXEpochIterator._get_iterator": {
        "4690bbdfbc1f": "3.7.0 3.10.0",
        "d7cf5bbcd68e": "3.12.1",
        "f7d5054ecddf": "3.14.1",
        "ac7500ac339a": "3.15.1",
    },
    "backend.jax.trainer:JAXEpochIterator._prefetch_numpy_iterator": {
        "1bbddd811ea4": "3.7.0 3.10.0 3.12.1",
        "absent": "3.14.1 3.15.1",
    },
    "backend.jax.trainer:JAXEpochIterator._one_batch_ahead_iterator": {
        "absent": "3.7.0 3.10.0 3.12.1",
        "d91973d62606": "3.14.1 3.15.1",
    },
    "trainers.data_adapters.array_data_adapter:ArrayDataAdapter.get_jax_iterator": {
        "99b7051cc692": "3.7.0 3.10.0 3.12.1 3.14.1 3.15.1"
    },
    "trainers.data_adapters.array_data_adapter:ArrayDataAdapter._get_iterator": {
        "8931a713c6f7": "3.7.0 3.10.0",
        "a9e84f1f531b": "3.12.1 3.14.1 3.15.1",
    },
    "trainers.data_adapters.generator_data_adapter:GeneratorDataAdapter.get_jax_iterator": {
        "1206d8679fe4": "3.7.0 3.10.0 3.12.1 3.14.1 3.15.1"
    },
    "trainers.data_adapters.py_dataset_adapter:PyDatasetAdapter.get_jax_iterator": {
        "f9ecd94bb4f4": "3.7.0 3.10.0 3.12.1 3.14.1 3.15.1"
    },
    "trainers.data_adapters.tf_dataset_adapter:TFDatasetAdapter.get_jax_iterator": {
        "66f2e0d069e2": "3.7.0 3.10.0",
        "60a41d9d8a27": "3.12.1 3.14.1 3.15.1",
    },
    "trainers.data_adapters.torch_data_loader_adapter:TorchDataLoaderAdapter.__init__": {
        "c89293f6b740": "3.7.0 3.10.0 3.12.1 3.14.1 3.15.1"
    },
    "trainers.data_adapters.torch_data_loader_adapter:TorchDataLoaderAdapter.get_numpy_iterator": {
        "3787fb914139": "3.7.0 3.10.0",
        "f88ff1af2c24": "3.12.1 3.14.1 3.15.1",
    },
    "trainers.data_adapters.torch_data_loader_adapter:TorchDataLoaderAdapter.num_batches": {
        "81f26fa72da5": "3.7.0 3.10.0 3.12.1 3.14.1 3.15.1"
    },
    "backend.torch.trainer:TorchTrainer.fit": {
        "c50a965c38d1": "3.7.0",
        "2fdb72c37053": "3.10.0",
        "0e6e7804a7a1": "3.12.1",
        "20877ba60fe0": "3.15.1",
    },
    "backend.torch.trainer:TorchTrainer.evaluate": {
        "1c5469efc34a": "3.7.0",
        "52d5e822af2d": "3.10.0",
        "4b31231562c9": "3.12.1",
        "58a72d081762": "3.15.1",
    },
    "backend.torch.trainer:TorchTrainer.make_train_function": {
        "09f63a34efa5": "3.7.0 3.10.0 3.12.1 3.15.1"
    },
    "backend.torch.trainer:TorchEpochIterator._get_iterator": {
        "0dc221371de9": "3.7.0 3.10.0 3.12.1 3.15.1"
    },
    "trainers.epoch_iterator:EpochIterator.__next__": {
        "6cdf2195e6b9": "3.7.0 3.10.0",
        "bd22eef42e0c": "3.12.1 3.15.1",
    },
    "trainers.data_adapters.array_data_adapter:ArrayDataAdapter.get_torch_dataloader": {
        "bc15929a3fa0": "3.7.0 3.10.0",
        "d0632faac267": "3.12.1 3.15.1",
    },
    "trainers.data_adapters.generator_data_adapter:GeneratorDataAdapter.get_torch_dataloader": {
        "3e9b5741b8ba": "3.7.0 3.10.0 3.12.1 3.15.1"
    },
    "trainers.data_adapters.py_dataset_adapter:PyDatasetAdapter.get_torch_dataloader": {
        "87bb42232c29": "3.7.0 3.10.0 3.12.1 3.15.1"
    },
    "trainers.data_adapters.tf_dataset_adapter:TFDatasetAdapter.get_torch_dataloader": {
        "8d8ce7207b3b": "3.7.0 3.10.0 3.12.1 3.15.1"
    },
    "trainers.data_adapters.torch_data_loader_adapter:TorchDataLoaderAdapter.get_torch_dataloader": {
        "6a9f10d10b8c": "3.7.0 3.10.0 3.12.1 3.15.1"
    },
}
