package edgevit.core;

import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What a .tflite says of itself: TFLite Metadata, as converters/tflite/metadata.py writes it.
 *
 * <p>It names the classes and says that pixels go in as they are; shapes and types are the model's own. How a picture is resized it
 * does not say: the shorter side becomes the model's, bicubic.
 */
final class TfliteMetadata {
    private static final String NAME = "TFLITE_METADATA";
    private static final String LABELS = "labels.txt";
    private static final int SOFTMAX = 25;
    private static final int DEQUANTIZE = 6;
    private static final int END_OF_ARCHIVE = 0x06054b50;
    private static final int END_BYTES = 22;

    private final FlatTables flat;
    private final ByteBuffer data;

    private TfliteMetadata(FlatTables flat) {
        this.flat = flat;
        data = flat.data;
    }

    /** Return the fields of a manifest that the file tells, null if it carries no metadata. */
    static Map<String, Object> read(FlatTables flat, String name) throws ModelException {
        TfliteMetadata own = new TfliteMetadata(flat);
        return own.hasMetadata() ? own.describe(name) : null;
    }

    private boolean hasMetadata() {
        if (!flat.isKind("TFL")) {
            return false;
        }
        for (int table : flat.tables(flat.root(), 6)) {
            if (flat.text(table, 0).equals(NAME)) {
                return true;
            }
        }
        return false;
    }

    private Map<String, Object> describe(String name) throws ModelException {
        int graph = flat.tables(flat.root(), 2)[0];
        int[] tensors = flat.tables(graph, 0);
        int[] inputs = flat.numbers(graph, 1);
        int[] outputs = flat.numbers(graph, 2);
        if (inputs.length != 1 || outputs.length != 1) {
            throw new ModelException(inputs.length + " inputs and " + outputs.length + " outputs; this app gives one picture for one result");
        }
        int in = tensors[inputs[0]];
        int out = tensors[outputs[0]];
        if (!type(in).equals("uint8")) {
            throw new ModelException("takes " + type(in) + ", and how pixels become such it does not say; keep its manifest with it");
        }
        int[] shape = flat.numbers(in, 0);
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("model", name.substring(0, name.lastIndexOf('.')));
        all.put("precision", precision(tensors));
        all.put("target", "tflite");
        all.put("classes", OwnMetadata.classes(labels()));
        all.put("input", input(flat.text(in, 3), shape));
        Map<String, Object> output = new LinkedHashMap<>();
        output.put("name", flat.text(out, 3));
        output.put("shape", FlatTables.longs(flat.numbers(out, 0)));
        output.put("dtype", type(out));
        output.put("kind", endsInSoftmax(graph) ? "probabilities" : "logits");
        all.put("output", output);
        return all;
    }

    private static Map<String, Object> input(String name, int[] shape) {
        Map<String, Object> input = new LinkedHashMap<>();
        input.put("name", name);
        input.put("layout", "NHWC");
        input.put("shape", FlatTables.longs(shape));
        input.put("dtype", "uint8");
        input.put("value_range", Arrays.<Object>asList(0.0, 255.0));
        input.put("color", "RGB");
        input.put("resize", shape.length == 4 ? (long) shape[1] : 0L);
        input.put("interpolation", "bicubic");
        input.put("crop_pct", 1.0);
        input.put("mean", Arrays.<Object>asList(0.0, 0.0, 0.0));
        input.put("std", Arrays.<Object>asList(1.0, 1.0, 1.0));
        input.put("normalization", "inside");
        return input;
    }

    private String precision(int[] tensors) {
        boolean isHalf = false;
        for (int tensor : tensors) {
            if (type(tensor).equals("int8")) {
                return "int8_ptq";
            }
            isHalf |= type(tensor).equals("float16");
        }
        return isHalf ? "fp16" : "fp32";
    }

    private boolean endsInSoftmax(int graph) {
        int[] codes = flat.tables(flat.root(), 1);
        int[] operators = flat.tables(graph, 3);
        int last = operators.length - 1;
        if (last > 0 && code(codes, operators[last]) == DEQUANTIZE) {
            last--;
        }
        return last >= 0 && code(codes, operators[last]) == SOFTMAX;
    }

    private int code(int[] codes, int operator) {
        int place = flat.slot(operator, 0);
        int one = codes[place == 0 ? 0 : data.getInt(place)];
        int old = flat.slot(one, 0);
        int now = flat.slot(one, 3);
        return Math.max(old == 0 ? 0 : data.get(old), now == 0 ? 0 : data.getInt(now));
    }

    private String type(int tensor) {
        int place = flat.slot(tensor, 1);
        switch (place == 0 ? 0 : data.get(place)) {
            case 0:
                return "float32";
            case 1:
                return "float16";
            case 3:
                return "uint8";
            case 9:
                return "int8";
            default:
                return "another type";
        }
    }

    /** Return the labels, which lie behind the model as a zip archive that is not compressed. */
    private List<String> labels() throws ModelException {
        int end = data.limit() - END_BYTES;
        while (end >= 0 && data.getInt(end) != END_OF_ARCHIVE) {
            end--;
        }
        if (end < 0) {
            throw new ModelException("it names no classes");
        }
        int entry = end - data.getInt(end + 12); // The directory lies right before its end.
        int shift = entry - data.getInt(end + 16);
        for (int left = data.getShort(end + 10); left > 0; left--) {
            int nameBytes = data.getShort(entry + 28);
            if (flat.string(entry + 46, nameBytes).equals(LABELS)) {
                if (data.getShort(entry + 10) != 0) {
                    throw new ModelException("its labels are compressed");
                }
                int local = data.getInt(entry + 42) + shift;
                int begin = local + 30 + data.getShort(local + 26) + data.getShort(local + 28);
                return Arrays.asList(flat.string(begin, data.getInt(entry + 20)).trim().split("\r?\n"));
            }
            entry += 46 + nameBytes + data.getShort(entry + 30) + data.getShort(entry + 32);
        }
        throw new ModelException("it names no classes");
    }
}
