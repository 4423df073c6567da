package edgevit.core;

import java.util.Iterator;

/** Text helpers. String.join is newer than the Android library that the build without Google's SDK compiles against. */
final class Words {
    private Words() {}

    static String list(Iterable<?> items) {
        StringBuilder text = new StringBuilder();
        for (Iterator<?> each = items.iterator(); each.hasNext(); ) {
            text.append(each.next()).append(each.hasNext() ? ", " : "");
        }
        return text.toString();
    }
}
