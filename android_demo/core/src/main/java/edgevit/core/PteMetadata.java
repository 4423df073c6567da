package edgevit.core;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What a .pte says of itself: constant methods such as get_classes, as converters/executorch/lower.py writes them. Their values are read
 * from the file, before any runtime is loaded (executorch/schema/program.fbs).
 */
final class PteMetadata {
    private static final String PREFIX = "get_";
    // Places of fields in program.fbs.
    private static final int PROGRAM_PLANS = 1;
    private static final int PLAN_NAME = 0;
    private static final int PLAN_VALUES = 2;
    private static final int PLAN_OUTPUTS = 4;
    private static final int TENSOR_TYPE = 0;
    private static final int TENSOR_SIZES = 2;
    // Kinds of values there.
    private static final int INT = 2;
    private static final int BOOL = 3;
    private static final int DOUBLE = 4;
    private static final int TENSOR = 5;
    private static final int STRING = 6;

    private final FlatTables flat;
    /** By name without the prefix, in the order of the method's outputs. */
    private final Map<String, List<Object>> facts = new LinkedHashMap<>();
    private int output;

    private PteMetadata(FlatTables flat) throws ModelException {
        this.flat = flat;
        for (int plan : flat.tables(flat.root(), PROGRAM_PLANS)) {
            String name = flat.text(plan, PLAN_NAME);
            int[] values = flat.tables(plan, PLAN_VALUES);
            int[] outputs = flat.numbers(plan, PLAN_OUTPUTS);
            if (name.equals("forward") && outputs.length > 0) {
                output = values[outputs[0]];
            } else if (name.startsWith(PREFIX)) {
                List<Object> found = new ArrayList<>();
                for (int place : outputs) {
                    found.add(plain(values[place]));
                }
                facts.put(name.substring(PREFIX.length()), found);
            }
        }
    }

    /** Return the fields of a manifest that the file tells, null if it says nothing of classes. */
    static Map<String, Object> read(FlatTables flat) throws ModelException {
        if (!flat.isKind("ET12")) {
            return null;
        }
        PteMetadata own = new PteMetadata(flat);
        return own.facts.containsKey("classes") ? own.describe() : null;
    }

    private Map<String, Object> describe() throws ModelException {
        Map<String, Object> input = new LinkedHashMap<>();
        input.put("name", "input");
        for (String name : new String[] {"input_layout", "input_dtype", "color", "resize", "interpolation", "crop_pct", "normalization"}) {
            input.put(name.replace("input_", ""), one(name));
        }
        input.put("shape", all("input_shape"));
        input.put("value_range", all("input_range"));
        input.put("mean", all("mean"));
        input.put("std", all("std"));
        Map<String, Object> result = new LinkedHashMap<>();
        result.put("name", "output");
        result.put("kind", one("output_kind"));
        if (output == 0 || kind(output) != TENSOR) {
            throw new ModelException("its forward method puts out no tensor");
        }
        result.put("shape", FlatTables.longs(flat.numbers(value(output), TENSOR_SIZES)));
        result.put("dtype", type(value(output)));
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("model", one("model"));
        // Files of before say no precision. Integers go in where the first layer is an integer one.
        Object guess = "int8".equals(one("input_dtype")) ? "int8_ptq" : "fp32";
        all.put("precision", facts.containsKey("precision") ? one("precision") : guess);
        all.put("target", "executorch");
        all.put("classes", OwnMetadata.classes(all("classes")));
        all.put("input", input);
        all.put("output", result);
        return all;
    }

    private List<Object> all(String name) throws ModelException {
        List<Object> found = facts.get(name);
        if (found == null) {
            throw new ModelException("it has no method " + PREFIX + name + "; keep its manifest with it");
        }
        return found;
    }

    private Object one(String name) throws ModelException {
        List<Object> found = all(name);
        if (found.size() != 1) {
            throw new ModelException(PREFIX + name + " gives " + found.size() + " values; expected 1");
        }
        return found.get(0);
    }

    private Object plain(int value) throws ModelException {
        int at = value(value);
        switch (kind(value)) {
            case INT:
                return flat.slot(at, 0) == 0 ? 0L : flat.data.getLong(flat.slot(at, 0));
            case BOOL:
                return flat.slot(at, 0) != 0 && flat.data.get(flat.slot(at, 0)) != 0;
            case DOUBLE:
                return flat.slot(at, 0) == 0 ? 0.0 : flat.data.getDouble(flat.slot(at, 0));
            case STRING:
                return flat.text(at, 0);
            default:
                return null; // A tensor, of a method that is not ours.
        }
    }

    private int kind(int value) {
        int place = flat.slot(value, 0);
        return place == 0 ? 0 : flat.data.get(place);
    }

    private int value(int value) {
        int place = flat.slot(value, 1);
        return place == 0 ? 0 : place + flat.data.getInt(place);
    }

    private String type(int tensor) {
        int place = flat.slot(tensor, TENSOR_TYPE);
        switch (place == 0 ? 0 : flat.data.get(place)) { // scalar_type.fbs
            case 0:
                return "uint8";
            case 1:
                return "int8";
            case 5:
                return "float16";
            case 6:
                return "float32";
            default:
                return "another type";
        }
    }
}
