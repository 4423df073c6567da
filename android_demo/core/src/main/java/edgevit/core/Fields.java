package edgevit.core;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/**
 * Take typed fields out of a parsed JSON object. {@code where} is the path of field names, as the messages show it.
 *
 * <p>The messages are those of converters/manifest.py, so that a refused manifest reads alike on both sides.
 */
final class Fields {
    private final Map<?, ?> entries;
    private final String where;

    private Fields(Map<?, ?> entries, String where) {
        this.entries = entries;
        this.where = where;
    }

    /**
     * Open an object that must have the named fields. Others are let pass: a later converter may say more about a model of the same
     * schema, and an app in users' hands must still read it.
     */
    static Fields of(Object value, String where, String... names) throws ModelException {
        if (!(value instanceof Map)) {
            throw wrongType(value, where.isEmpty() ? "the manifest" : where, "an object");
        }
        Fields fields = new Fields((Map<?, ?>) value, where);
        for (String name : names) {
            if (!fields.entries.containsKey(name)) {
                throw new ModelException("field " + fields.path(name) + " is missing");
            }
        }
        return fields;
    }

    Object raw(String name) {
        return entries.get(name);
    }

    String text(String name) throws ModelException {
        Object value = entries.get(name);
        if (!(value instanceof String)) {
            throw wrongType(value, path(name), "a text");
        }
        return (String) value;
    }

    String optionalText(String name) throws ModelException {
        return entries.get(name) == null ? null : text(name);
    }

    String choice(String name, String... allowed) throws ModelException {
        Object value = entries.get(name);
        if (!Arrays.asList(allowed).contains(value)) {
            String shown = value instanceof String ? "'" + value + "'" : Json.write(value);
            throw new ModelException(path(name) + " is " + shown + "; allowed are " + Words.list(Arrays.asList(allowed)));
        }
        return (String) value;
    }

    long whole(String name) throws ModelException {
        return whole(entries.get(name), path(name));
    }

    double number(String name) throws ModelException {
        return number(entries.get(name), path(name));
    }

    int[] wholes(String name) throws ModelException {
        List<?> items = list(name);
        int[] found = new int[items.size()];
        for (int i = 0; i < found.length; i++) {
            long value = whole(items.get(i), path(name) + "[" + i + "]");
            if (value < 0 || value > Integer.MAX_VALUE) {
                throw new ModelException(path(name) + "[" + i + "] is " + value + ", which no tensor has");
            }
            found[i] = (int) value;
        }
        return found;
    }

    double[] numbers(String name, int expected) throws ModelException {
        List<?> items = list(name);
        if (items.size() != expected) {
            throw new ModelException(path(name) + " has " + items.size() + " values; expected " + expected);
        }
        double[] found = new double[expected];
        for (int i = 0; i < expected; i++) {
            found[i] = number(items.get(i), path(name) + "[" + i + "]");
        }
        return found;
    }

    List<?> list(String name) throws ModelException {
        Object value = entries.get(name);
        if (!(value instanceof List)) {
            throw wrongType(value, path(name), "a list");
        }
        return new ArrayList<>((List<?>) value);
    }

    String path(String name) {
        return where.isEmpty() ? name : where + "." + name;
    }

    private static long whole(Object value, String path) throws ModelException {
        if (!(value instanceof Long)) {
            throw wrongType(value, path, "a whole number");
        }
        return (Long) value;
    }

    private static double number(Object value, String path) throws ModelException {
        if (!(value instanceof Number)) {
            throw wrongType(value, path, "a number");
        }
        return ((Number) value).doubleValue();
    }

    private static ModelException wrongType(Object value, String path, String expected) {
        String shown = Json.write(value);
        return new ModelException(
                path + " is " + shown.substring(0, Math.min(60, shown.length())) + "; expected " + expected);
    }
}
