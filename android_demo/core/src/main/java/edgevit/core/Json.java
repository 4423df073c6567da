package edgevit.core;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Read and write JSON with nothing but the Java library, so that the same code runs on a phone and on a plain JVM.
 *
 * <p>Objects are {@code LinkedHashMap}, arrays {@code ArrayList}, whole numbers {@code Long}, others {@code Double}. Reading is
 * strict: no comments, no trailing commas, no NaN, no repeated keys.
 */
public final class Json {
    private static final int MAX_DEPTH = 64;

    private final String text;
    private int at;

    private Json(String text) {
        this.text = text;
    }

    /**
     * Parse a whole document.
     *
     * @throws IllegalArgumentException if it is no JSON; the message says in which line
     */
    public static Object parse(String text) {
        Json reader = new Json(text);
        Object value = reader.value(0);
        reader.skipSpace();
        if (reader.at < text.length()) {
            throw reader.error("something follows the end of the document");
        }
        return value;
    }

    private Object value(int depth) {
        skipSpace();
        if (depth > MAX_DEPTH) {
            throw error("nested too deeply");
        }
        if (at >= text.length()) {
            throw error("the text ends early");
        }
        char c = text.charAt(at);
        if (c == '{') {
            return object(depth);
        }
        if (c == '[') {
            return array(depth);
        }
        if (c == '"') {
            return string();
        }
        if (c == '-' || (c >= '0' && c <= '9')) {
            return number();
        }
        for (String word : new String[] {"true", "false", "null"}) {
            if (text.startsWith(word, at)) {
                at += word.length();
                return word.equals("null") ? null : Boolean.valueOf(word);
            }
        }
        throw error("unexpected '" + c + "'");
    }

    private Map<String, Object> object(int depth) {
        Map<String, Object> found = new LinkedHashMap<>();
        at++;
        for (boolean first = true; !closes('}', first); first = false) {
            skipSpace();
            if (at >= text.length() || text.charAt(at) != '"') {
                throw error("expected a field name");
            }
            String key = string();
            skipSpace();
            expect(':');
            if (found.containsKey(key)) {
                throw error("field " + key + " stands twice");
            }
            found.put(key, value(depth + 1));
        }
        return found;
    }

    private List<Object> array(int depth) {
        List<Object> found = new ArrayList<>();
        at++;
        for (boolean first = true; !closes(']', first); first = false) {
            found.add(value(depth + 1));
        }
        return found;
    }

    /** Take the closing bracket and return true, or take the comma that must stand before every entry but the first. */
    private boolean closes(char bracket, boolean first) {
        skipSpace();
        if (at < text.length() && text.charAt(at) == bracket) {
            at++;
            return true;
        }
        if (!first) {
            expect(',');
            skipSpace();
            if (at < text.length() && text.charAt(at) == bracket) {
                throw error("a comma stands before '" + bracket + "'");
            }
        }
        return false;
    }

    private String string() {
        StringBuilder found = new StringBuilder();
        at++;
        while (true) {
            if (at >= text.length()) {
                throw error("a text is not closed");
            }
            char c = text.charAt(at++);
            if (c == '"') {
                return found.toString();
            }
            if (c < ' ') {
                throw error("a control character stands in a text");
            }
            found.append(c == '\\' ? escape() : c);
        }
    }

    private char escape() {
        if (at >= text.length()) {
            throw error("a text is not closed");
        }
        char c = text.charAt(at++);
        int known = "\"\\/bfnrt".indexOf(c);
        if (known >= 0) {
            return "\"\\/\b\f\n\r\t".charAt(known);
        }
        if (c != 'u' || at + 4 > text.length()) {
            throw error("unknown escape '\\" + c + "'");
        }
        String digits = text.substring(at, at + 4);
        if (!digits.matches("[0-9a-fA-F]{4}")) {
            throw error("unknown escape '\\u" + digits + "'");
        }
        at += 4;
        return (char) Integer.parseInt(digits, 16);
    }

    private Object number() {
        int begin = at;
        while (at < text.length() && "+-.eE0123456789".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
        String word = text.substring(begin, at);
        if (!word.matches("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?")) {
            throw error(word + " is no number");
        }
        if (word.matches("-?[0-9]{1,18}")) {
            return Long.valueOf(word);
        }
        double value = Double.parseDouble(word);
        if (Double.isInfinite(value)) {
            throw error(word + " is too large");
        }
        return value;
    }

    private void expect(char c) {
        if (at >= text.length()) {
            throw error("the text ends early");
        }
        if (text.charAt(at) != c) {
            throw error("expected '" + c + "'");
        }
        at++;
    }

    private void skipSpace() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
    }

    private IllegalArgumentException error(String what) {
        int line = 1;
        for (int i = 0; i < Math.min(at, text.length()); i++) {
            line += text.charAt(i) == '\n' ? 1 : 0;
        }
        return new IllegalArgumentException(what + ", line " + line);
    }

    /** Return a value as JSON on one line. Whole numbers stay whole; NaN and infinities are refused. */
    public static String write(Object value) {
        StringBuilder out = new StringBuilder();
        write(value, out);
        return out.toString();
    }

    private static void write(Object value, StringBuilder out) {
        if (value instanceof Map) {
            char mark = '{';
            for (Map.Entry<?, ?> entry : ((Map<?, ?>) value).entrySet()) {
                out.append(mark);
                quote(entry.getKey().toString(), out);
                out.append(": ");
                write(entry.getValue(), out);
                mark = ',';
            }
            out.append(mark == '{' ? "{}" : "}");
        } else if (value instanceof Iterable) {
            char mark = '[';
            for (Object item : (Iterable<?>) value) {
                out.append(mark);
                write(item, out);
                mark = ',';
            }
            out.append(mark == '[' ? "[]" : "]");
        } else if (value instanceof Double || value instanceof Float) {
            double number = ((Number) value).doubleValue();
            if (Double.isNaN(number) || Double.isInfinite(number)) {
                throw new IllegalArgumentException(number + " has no place in JSON");
            }
            out.append(number);
        } else if (value == null || value instanceof Number || value instanceof Boolean) {
            out.append(value);
        } else {
            quote(value.toString(), out);
        }
    }

    private static void quote(String value, StringBuilder out) {
        out.append('"');
        for (int i = 0; i < value.length(); i++) {
            char c = value.charAt(i);
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c < ' ') {
                out.append(String.format("\\u%04x", (int) c));
            } else {
                out.append(c);
            }
        }
        out.append('"');
    }
}
