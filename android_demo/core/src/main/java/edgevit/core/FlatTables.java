package edgevit.core;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/**
 * Read tables of a flatbuffer by the places of their fields, as .tflite and .pte files are made of them.
 *
 * <p>A file that is cut short or damaged ends in IndexOutOfBoundsException or IllegalArgumentException, never in a huge allocation.
 */
final class FlatTables {
    final ByteBuffer data;

    FlatTables(byte[] file) {
        data = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
    }

    /** Return whether the file says that it is of this kind: four letters after the place of its root. */
    boolean isKind(String letters) {
        for (int i = 0; i < letters.length(); i++) {
            if (data.limit() < 8 || data.get(4 + i) != letters.charAt(i)) {
                return false;
            }
        }
        return true;
    }

    int root() {
        return data.getInt(0);
    }

    /** Return where a table's field lies, 0 if it has its default. */
    int slot(int table, int field) {
        int about = table - data.getInt(table);
        int place = 4 + 2 * field;
        int offset = place < data.getShort(about) ? data.getShort(about + place) & 0xffff : 0;
        return offset == 0 ? 0 : table + offset;
    }

    int[] tables(int table, int field) {
        int[] found = numbers(table, field);
        int begin = found.length == 0 ? 0 : begin(table, field);
        for (int i = 0; i < found.length; i++) {
            found[i] += begin + 4 * i;
        }
        return found;
    }

    int[] numbers(int table, int field) {
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

    int begin(int table, int field) {
        int place = slot(table, field);
        return place + data.getInt(place) + 4;
    }

    String text(int table, int field) {
        if (slot(table, field) == 0) {
            return "";
        }
        int begin = begin(table, field);
        return string(begin, data.getInt(begin - 4));
    }

    String string(int begin, int count) {
        if (count < 0 || begin < 0 || begin + count > data.limit()) {
            throw new IllegalArgumentException("a text of " + count);
        }
        return new String(data.array(), begin, count, StandardCharsets.UTF_8);
    }

    static List<Object> longs(int[] values) {
        List<Object> found = new ArrayList<>();
        for (int value : values) {
            found.add((long) value);
        }
        return found;
    }
}
