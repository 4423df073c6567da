package edgevit.core;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * What the file beside a model says about it: shape, layout, normalisation, labels, precision. The app knows none of it by heart.
 *
 * <p>Written by converters/manifest.py, which is the reference for the fields. Reading is as strict as there.
 */
public final class Manifest {
    public static final int SCHEMA_VERSION = 1;

    static final String[] FIELDS = {
        "model", "precision", "target", "backend", "weights", "classes", "input", "output", "file", "operators",
        "delegated_nodes", "total_nodes", "verification", "verification_reason", "quantization", "tool_versions", "command",
        "schema_version"
    };

    public final String model;
    public final String precision;
    public final String target;
    public final String backend;
    public final List<String> labels;
    public final Input input;
    public final int[] outputShape;
    public final String outputDtype;
    /** The file ends in a softmax: its outputs are probabilities, not logits. */
    public final boolean givesProbabilities;
    public final String fileName;
    public final long fileBytes;
    public final String fileSha256;
    /** The same model compiled ahead of time, for one chip's NPU each. */
    private final List<Compiled> compiled = new ArrayList<>();

    private Manifest(Fields all) throws ModelException {
        model = all.text("model");
        precision = all.choice("precision", "fp32", "fp16", "int8_ptq", "int8_qat", "int16_ptq", "int16_qat");
        target = all.choice("target", "tflite", "executorch", "coreml", "onnx");
        backend = all.text("backend");
        labels = labels(all.list("classes"));
        input = new Input(all.raw("input"));
        Fields output = Fields.of(all.raw("output"), "output", "name", "shape", "dtype", "kind");
        outputShape = output.wholes("shape");
        outputDtype = output.choice("dtype", "float32", "float16", "int8", "uint8");
        givesProbabilities = output.choice("kind", "logits", "probabilities").equals("probabilities");
        Fields file = Fields.of(all.raw("file"), "file", "name", "num_bytes", "sha256");
        fileName = file.text("name");
        fileBytes = file.whole("num_bytes");
        fileSha256 = file.text("sha256");
        if (!fileSha256.matches("[0-9a-f]{64}")) {
            throw new ModelException("file.sha256 is '" + fileSha256 + "'; expected 64 hexadecimal digits");
        }
        for (Object each : all.raw("npu_files") == null ? Collections.emptyList() : all.list("npu_files")) {
            compiled.add(new Compiled(each, "npu_files[" + compiled.size() + "]"));
        }
        int outputs = outputShape.length == 0 ? 0 : outputShape[outputShape.length - 1];
        if (outputs != labels.size()) {
            throw new ModelException(labels.size() + " classes for an output of " + outputs + " values");
        }
    }

    /**
     * Parse a manifest.
     *
     * @throws ModelException if this is no JSON, a field is missing or of another type, or the schema is another one
     */
    public static Manifest parse(String text) throws ModelException {
        Object data;
        try {
            data = Json.parse(text);
        } catch (IllegalArgumentException e) {
            throw new ModelException("not valid JSON (" + e.getMessage() + ")", e);
        }
        // Said first: another schema also has other fields.
        if (data instanceof Map && ((Map<?, ?>) data).containsKey("schema_version")) {
            Object version = ((Map<?, ?>) data).get("schema_version");
            if (!Long.valueOf(SCHEMA_VERSION).equals(version)) {
                throw new ModelException(
                        "schema_version " + Json.write(version) + " is unknown here; this version reads " + SCHEMA_VERSION);
            }
        }
        return new Manifest(Fields.of(data, "", FIELDS));
    }

    /** Return how the model is called on the screen, such as "levit_128s int8_qat". */
    public String title() {
        return model + " " + precision;
    }

    /** Return what kind of runtime the file is for, in the words of the manifest, and refuse any other. */
    public void requireTarget(String expected, String runtime) throws ModelException {
        if (!target.equals(expected)) {
            throw new ModelException(fileName + " was made for " + target + "; " + runtime + " runs " + expected + " files");
        }
    }

    /** Return the file that was compiled for a chip, in Android's name for it, and null where there is none. */
    public Compiled compiledFor(String chip) {
        for (Compiled each : compiled) {
            if (plain(each.chip).equals(plain(chip))) {
                return each;
            }
        }
        return null;
    }

    private static String plain(String chip) {
        return chip.toLowerCase(Locale.ROOT).replaceAll("[^a-z0-9]", "");
    }

    private static List<String> labels(List<?> items) throws ModelException {
        List<String> found = new ArrayList<>();
        for (int i = 0; i < items.size(); i++) {
            Fields label = Fields.of(items.get(i), "classes[" + i + "]", "id", "name");
            label.text("id");
            found.add(label.text("name"));
        }
        return Collections.unmodifiableList(found);
    }

    /** A file that runs on one chip alone; it takes and gives what the portable one does. */
    public static final class Compiled {
        public final String chip;
        public final String fileName;
        public final long fileBytes;
        public final String fileSha256;

        private Compiled(Object value, String where) throws ModelException {
            Fields all = Fields.of(value, where, "chip", "file");
            chip = all.text("chip");
            Fields file = Fields.of(all.raw("file"), where + ".file", "name", "num_bytes", "sha256");
            fileName = file.text("name");
            fileBytes = file.whole("num_bytes");
            fileSha256 = file.text("sha256");
        }
    }

    /** What to feed. {@code isNormalizedInside}: the file itself applies mean and std; otherwise the caller does. */
    public static final class Input {
        public final String name;
        public final boolean isChannelsLast;
        public final int[] shape;
        public final int side;
        public final String dtype;
        public final double low;
        public final double high;
        public final int resize;
        public final String interpolation;
        public final double[] mean;
        public final double[] std;
        public final boolean isNormalizedInside;

        private Input(Object value) throws ModelException {
            Fields all = Fields.of(
                    value, "input", "name", "layout", "shape", "dtype", "value_range", "color", "resize", "interpolation",
                    "crop_pct", "mean", "std", "normalization");
            name = all.text("name");
            isChannelsLast = all.choice("layout", "NHWC", "NCHW").equals("NHWC");
            shape = all.wholes("shape");
            dtype = all.choice("dtype", "uint8", "int8", "float32", "float16");
            double[] range = all.numbers("value_range", 2);
            low = range[0];
            high = range[1];
            all.choice("color", "RGB");
            resize = (int) all.whole("resize");
            interpolation = all.choice("interpolation", "bilinear", "bicubic");
            all.number("crop_pct");
            mean = all.numbers("mean", 3);
            std = all.numbers("std", 3);
            isNormalizedInside = all.choice("normalization", "inside", "caller").equals("inside");
            int channels = isChannelsLast ? 3 : 1;
            if (shape.length != 4 || shape[channels] != 3 || height() != width() || height() < 1) {
                throw new ModelException("input.shape " + shapeText() + " is no square " + layout() + " picture of three channels");
            }
            if (shape[0] != 1) {
                throw new ModelException("input.shape " + shapeText() + " is a batch; this app classifies one picture at a time");
            }
            side = height();
            if (side > 4096 || resize < side || resize > 40960) {
                throw new ModelException("input.resize is " + resize + " for pictures of " + side + " pixels a side");
            }
        }

        private int height() {
            return isChannelsLast ? shape[1] : shape[2];
        }

        private int width() {
            return isChannelsLast ? shape[2] : shape[3];
        }

        private String layout() {
            return isChannelsLast ? "NHWC" : "NCHW";
        }

        private String shapeText() {
            List<String> words = new ArrayList<>();
            for (int size : shape) {
                words.add(Integer.toString(size));
            }
            return "[" + Words.list(words) + "]";
        }

        /** Return how many bytes one input takes. */
        public int numBytes() {
            int each = dtype.equals("float32") ? 4 : dtype.equals("float16") ? 2 : 1;
            return 3 * side * side * each;
        }
    }
}
