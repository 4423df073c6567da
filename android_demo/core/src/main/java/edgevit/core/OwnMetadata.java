package edgevit.core;

import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What a .tflite says of itself, for one that comes without its manifest: TFLite Metadata, as converters/tflite/metadata.py writes it.
 *
 * <p>It names the classes and says that pixels go in as they are; shapes and types are the model's own. How a picture is resized it
 * does not say: the shorter side becomes the model's, bicubic.
 */
final class OwnMetadata {
    private static final String NAME = "TFLITE_METADATA";
    private static final String LABELS = "labels.txt";
    private static final int SOFTMAX = 25;
    private static final int DEQUANTIZE = 6;
    private static final int END_OF_ARCHIVE = 0x06054b50;
    private static final int END_BYTES = 22;

    private final ByteBuffer data;

    private OwnMetadata(byte[] file) {
        data = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
    }

    /**
     * Return a manifest made of a model's own metadata, null if it has none.
     *
     * @throws ModelException if it has, and it does not fit this app
     */
    static Manifest read(byte[] file, String name, String sha256) throws ModelException {
        try {
            OwnMetadata own = new OwnMetadata(file);
            return own.hasMetadata() ? Manifest.parse(Json.write(own.describe(name, sha256))) : null;
        } catch (IndexOutOfBoundsException | BufferUnderflowException | IllegalArgumentException e) {
            throw new ModelException(name + ": its own metadata cannot be read; the file is cut short or damaged", e);
        } catch (ModelException e) {
            throw new ModelException(name + ", by its own metadata: " + e.getMessage(), e);
        }
    }

    private boolean hasMetadata() {
        if (data.limit() < 8 || data.get(4) != 'T' || data.get(5) != 'F' || data.get(6) != 'L') {
            return false;
        }
        for (int table : tables(root(), 6)) {
            if (text(table, 0).equals(NAME)) {
                return true;
            }
        }
        return false;
    }

    private Map<String, Object> describe(String name, String sha256) throws ModelException {
        int graph = tables(root(), 2)[0];
        int[] tensors = tables(graph, 0);
        int[] inputs = numbers(graph, 1);
        int[] outputs = numbers(graph, 2);
        if (inputs.length != 1 || outputs.length != 1) {
            throw new ModelException(inputs.length + " inputs and " + outputs.length + " outputs; this app gives one picture for one result");
        }
        int in = tensors[inputs[0]];
        int out = tensors[outputs[0]];
        if (!type(in).equals("uint8")) {
            throw new ModelException("takes " + type(in) + ", and how pixels become such it does not say; keep its manifest with it");
        }
        int[] shape = numbers(in, 0);
        List<Object> classes = new ArrayList<>();
        for (String label : labels()) {
            Map<String, Object> one = new LinkedHashMap<>();
            one.put("id", label);
            one.put("name", label);
            classes.add(one);
        }
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("model", name.substring(0, name.lastIndexOf('.')));
        all.put("precision", precision(tensors));
        all.put("target", "tflite");
        all.put("backend", "own metadata");
        all.put("classes", classes);
        all.put("input", input(text(in, 3), shape));
        Map<String, Object> output = new LinkedHashMap<>();
        output.put("name", text(out, 3));
        output.put("shape", longs(numbers(out, 0)));
        output.put("dtype", type(out));
        output.put("kind", endsInSoftmax(graph) ? "probabilities" : "logits");
        all.put("output", output);
        Map<String, Object> file = new LinkedHashMap<>();
        file.put("name", name);
        file.put("num_bytes", (long) data.limit());
        file.put("sha256", sha256);
        all.put("file", file);
        for (String other : Manifest.FIELDS) {
            if (!all.containsKey(other)) {
                all.put(other, other.equals("schema_version") ? (Object) (long) Manifest.SCHEMA_VERSION : null);
            }
        }
        return all;
    }

    private static Map<String, Object> input(String name, int[] shape) {
        Map<String, Object> input = new LinkedHashMap<>();
        input.put("name", name);
        input.put("layout", "NHWC");
        input.put("shape", longs(shape));
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
        int[] codes = tables(root(), 1);
        int[] operators = tables(graph, 3);
        int last = operators.length - 1;
        if (last > 0 && code(codes, operators[last]) == DEQUANTIZE) {
            last--;
        }
        return last >= 0 && code(codes, operators[last]) == SOFTMAX;
    }

    private int code(int[] codes, int operator) {
        int place = slot(operator, 0);
        int one = codes[place == 0 ? 0 : data.getInt(place)];
        int old = slot(one, 0);
        int now = slot(one, 3);
        return Math.max(old == 0 ? 0 : data.get(old), now == 0 ? 0 : data.getInt(now));
    }

    private String type(int tensor) {
        int place = slot(tensor, 1);
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
            if (string(entry + 46, nameBytes).equals(LABELS)) {
                if (data.getShort(entry + 10) != 0) {
                    throw new ModelException("its labels are compressed");
                }
                int local = data.getInt(entry + 42) + shift;
                int begin = local + 30 + data.getShort(local + 26) + data.getShort(local + 28);
                return Arrays.asList(string(begin, data.getInt(entry + 20)).trim().split("\r?\n"));
            }
            entry += 46 + nameBytes + data.getShort(entry + 30) + data.getShort(entry + 32);
        }
        throw new ModelException("it names no classes");
    }

    private int root() {
        return data.getInt(0);
    }

    /** Return where a table's field lies, 0 if it has its default. */
    private int slot(int table, int field) {
        int about = table - data.getInt(table);
        int place = 4 + 2 * field;
        int offset = place < data.getShort(about) ? data.getShort(about + place) & 0xffff : 0;
        return offset == 0 ? 0 : table + offset;
    }

    private int[] tables(int table, int field) {
        int[] found = numbers(table, field);
        int begin = found.length == 0 ? 0 : begin(table, field);
        for (int i = 0; i < found.length; i++) {
            found[i] += begin + 4 * i;
        }
        return found;
    }

    private int[] numbers(int table, int field) {
        if (slot(table, field) == 0) {
            return new int[0];
        }
        int begin = begin(table, field);
        int count = data.getInt(begin - 4);
        if (count < 0 || count > data.limit() / 4) {
            throw new IllegalArgumentException("a list of " + count);
        }
        int[] found = new int[count];
        for (int i = 0; i < count; i++) {
            found[i] = data.getInt(begin + 4 * i);
        }
        return found;
    }

    private int begin(int table, int field) {
        int place = slot(table, field);
        return place + data.getInt(place) + 4;
    }

    private String text(int table, int field) {
        if (slot(table, field) == 0) {
            return "";
        }
        int begin = begin(table, field);
        return string(begin, data.getInt(begin - 4));
    }

    private String string(int begin, int count) {
        if (count < 0 || begin < 0 || begin + count > data.limit()) {
            throw new IllegalArgumentException("a text of " + count);
        }
        return new String(data.array(), begin, count, StandardCharsets.UTF_8);
    }

    private static List<Object> longs(int[] values) {
        List<Object> found = new ArrayList<>();
        for (int value : values) {
            found.add((long) value);
        }
        return found;
    }
}
