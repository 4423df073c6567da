package edgevit.core;

import java.nio.charset.StandardCharsets;

/**
 * Find out how a picture lies: the EXIF orientation of a JPEG, PNG or WebP file.
 *
 * <p>Formats: the TIFF header of EXIF 2.32 section 4.5.2; JPEG's APP1 segment; PNG's eXIf chunk; WebP's EXIF chunk.
 */
public final class Exif {
    /** The picture lies as it should be seen. */
    public static final int UPRIGHT = 1;

    private static final int ORIENTATION_TAG = 0x0112;
    private static final int SHORT = 3;
    private static final int LONG = 4;

    private final byte[] file;
    private final int begin;
    private final int end;
    private final boolean isLittleEndian;

    private Exif(byte[] file, int begin, int end) {
        this.file = file;
        this.begin = begin;
        this.end = end;
        this.isLittleEndian = begin < end && file[begin] == 'I';
    }

    /** Return the orientation, 1 to 8; {@link #UPRIGHT} where the file says nothing, or nothing valid. */
    public static int orientation(byte[] file) {
        int found = UPRIGHT;
        if (startsWith(file, 0, "\u00ff\u00d8")) {
            found = inJpeg(file);
        } else if (startsWith(file, 0, "\u0089PNG\r\n\u001a\n")) {
            found = inChunks(file, 8, "eXIf", true);
        } else if (startsWith(file, 0, "RIFF") && startsWith(file, 8, "WEBP")) {
            found = inChunks(file, 12, "EXIF", false);
        }
        return found >= 1 && found <= 8 ? found : UPRIGHT;
    }

    /** JPEG: segments of a marker (ff xx) and a length that counts itself, up to the start of the scan (ff da). */
    private static int inJpeg(byte[] file) {
        int at = 2;
        while (at + 4 <= file.length && (file[at] & 0xff) == 0xff) {
            int marker = file[at + 1] & 0xff;
            if (marker == 0xff) {
                at++; // Fill bytes may stand before a marker.
                continue;
            }
            if (marker == 0xda || marker == 0xd9) {
                break;
            }
            int length = (file[at + 2] & 0xff) << 8 | file[at + 3] & 0xff;
            if (marker == 0xe1 && startsWith(file, at + 4, "Exif\0\0")) {
                return new Exif(file, at + 10, Math.min(at + 2 + length, file.length)).inTiff();
            }
            at += 2 + length;
        }
        return UPRIGHT;
    }

    /** PNG: length, name, data, checksum, big-endian. WebP: name, length, data padded to even, little-endian. */
    private static int inChunks(byte[] file, int first, String name, boolean isPng) {
        long at = first;
        while (at + 8 <= file.length) {
            int here = (int) at;
            long length = isPng ? big32(file, here) : little32(file, here + 4);
            if (startsWith(file, isPng ? here + 4 : here, name)) {
                int data = here + 8;
                data += startsWith(file, data, "Exif\0\0") ? 6 : 0; // Some writers keep JPEG's prefix.
                return new Exif(file, data, (int) Math.min(here + 8 + length, file.length)).inTiff();
            }
            at += 8 + length + (isPng ? 4 : length & 1);
        }
        return UPRIGHT;
    }

    private int inTiff() {
        if (!(startsWith(file, begin, "II*\0") || startsWith(file, begin, "MM\0*"))) {
            return UPRIGHT;
        }
        long directory = begin + number(begin + 4, 4);
        long entries = number(directory, 2);
        for (long i = 0; i < entries; i++) {
            long entry = directory + 2 + 12 * i;
            if (number(entry, 2) == ORIENTATION_TAG) {
                long type = number(entry + 2, 2);
                return type == SHORT ? (int) number(entry + 8, 2) : type == LONG ? (int) number(entry + 8, 4) : UPRIGHT;
            }
        }
        return UPRIGHT;
    }

    /** Return an unsigned number of the TIFF part; 0 where it would lie outside, as damaged files have it. */
    private long number(long at, int size) {
        if (at < begin || at + size > end) {
            return 0;
        }
        long value = 0;
        for (int i = 0; i < size; i++) {
            int place = (int) at + (isLittleEndian ? size - 1 - i : i);
            value = value << 8 | file[place] & 0xff;
        }
        return value;
    }

    private static long big32(byte[] file, int at) {
        return (file[at] & 0xffL) << 24 | (file[at + 1] & 0xff) << 16 | (file[at + 2] & 0xff) << 8 | file[at + 3] & 0xff;
    }

    private static long little32(byte[] file, int at) {
        return (file[at + 3] & 0xffL) << 24 | (file[at + 2] & 0xff) << 16 | (file[at + 1] & 0xff) << 8 | file[at] & 0xff;
    }

    private static boolean startsWith(byte[] file, int at, String text) {
        byte[] expected = text.getBytes(StandardCharsets.ISO_8859_1);
        if (at < 0 || at + expected.length > file.length) {
            return false;
        }
        for (int i = 0; i < expected.length; i++) {
            if (file[at + i] != expected[i]) {
                return false;
            }
        }
        return true;
    }
}
