package edgevit.core;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** Something to say, before it is put into a language. Values may be texts themselves, or lists of such. */
public final class Text {
    public final Say say;
    public final List<Object> values;

    private Text(Say say, List<Object> values) {
        this.say = say;
        this.values = values;
    }

    public static Text of(Say say, Object... values) {
        return new Text(say, Collections.unmodifiableList(Arrays.asList(values)));
    }

    /** Return words that are in no resource: a file's name, what a runtime said. */
    public static Text raw(String words) {
        return of(Say.RAW, words);
    }

    Map<String, Object> toMap() {
        List<Object> plain = new ArrayList<>();
        for (Object value : values) {
            plain.add(plain(value));
        }
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("say", say.name().toLowerCase(Locale.ROOT));
        all.put("values", plain);
        return all;
    }

    private static Object plain(Object value) {
        if (value instanceof Text) {
            return ((Text) value).toMap();
        }
        if (value instanceof List) {
            return maps((List<?>) value);
        }
        return value instanceof Integer ? Long.valueOf((Integer) value) : value;
    }

    static List<Object> maps(List<?> texts) {
        List<Object> found = new ArrayList<>();
        for (Object text : texts) {
            found.add(plain(text));
        }
        return found;
    }
}
