package edgevit.core;

import java.nio.ByteBuffer;

/**
 * Turn a decoded picture into model input, bit for bit as calibration/preprocess.py and converters/artefact.py do it.
 *
 * <p>Orientation, alpha over white, antialiased resize and centre crop are done in one go: only what the crop shows is computed.
 * Buffers are kept for the next picture, so one object serves one thread.
 */
public final class Preprocess {
    /** Pillow's bound, beyond which calibration/preprocess.py refuses, too. */
    static final long MAX_PIXELS = 2L * 89_478_485L;

    private final Manifest.Input input;
    private final boolean isBicubic;
    private final byte[] pixels;
    private final float[][] floats = new float[3][256];

    private Kernel across;
    private Kernel down;
    private byte[] line = new byte[0];
    private byte[] middle = new byte[0];

    public Preprocess(Manifest.Input input) {
        this.input = input;
        isBicubic = input.interpolation.equals("bicubic");
        pixels = new byte[3 * input.side * input.side];
        for (int c = 0; c < 3; c++) {
            float factor = (float) (1.0 / (255.0 * input.std[c]));
            float shift = (float) (-input.mean[c] / input.std[c]);
            if (input.isNormalizedInside) {
                factor = (float) ((input.high - input.low) / 255.0);
                shift = (float) input.low;
            }
            for (int value = 0; value < 256; value++) {
                floats[c][value] = value * factor + shift;
            }
        }
    }

    /** Return the pixels of the last picture: RGB, row by row, {@code side * side * 3}. The array is reused. */
    public byte[] pixels() {
        return pixels;
    }

    /**
     * Bring a picture to the model's size.
     *
     * @param rgba red, green, blue and straight (not premultiplied) alpha of each pixel, row by row, as decoded
     * @param orientation how it lies, see {@link Exif}
     * @throws PictureException if it is so long and narrow that resizing would blow it up
     */
    public void resize(byte[] rgba, int width, int height, int orientation) throws PictureException {
        boolean isTurned = orientation >= 5;
        int seenWidth = isTurned ? height : width;
        int seenHeight = isTurned ? width : height;
        int newWidth = resized(seenWidth, seenHeight, true);
        int newHeight = resized(seenWidth, seenHeight, false);
        int side = input.side;
        int left = (newWidth - side) / 2;
        int top = (newHeight - side) / 2;
        boolean isAcross = newWidth != seenWidth;
        boolean isDown = newHeight != seenHeight;
        if (isAcross && (across == null || !across.isFor(seenWidth, newWidth, left, side))) {
            across = new Kernel(seenWidth, newWidth, left, side, isBicubic);
        }
        if (isDown && (down == null || !down.isFor(seenHeight, newHeight, top, side))) {
            down = new Kernel(seenHeight, newHeight, top, side, isBicubic);
        }
        int firstRow = isDown ? down.first[0] : top;
        int lastRow = isDown ? down.first[side - 1] + down.weights[side - 1].length : top + side;
        byte[] rows = isDown ? grown(middle, 3 * side * (lastRow - firstRow)) : pixels;
        middle = isDown ? rows : middle;
        line = grown(line, 3 * seenWidth);
        Turn turn = new Turn(orientation, width, height);
        for (int y = firstRow; y < lastRow; y++) {
            turn.readRow(rgba, y, seenWidth, line);
            int to = 3 * side * (y - firstRow);
            if (isAcross) {
                shrinkRow(line, across, rows, to);
            } else {
                System.arraycopy(line, 3 * left, rows, to, 3 * side);
            }
        }
        if (isDown) {
            shrinkColumns(rows, firstRow, down, pixels, 3 * side);
        }
    }

    /** Write the last picture as the model wants it: type, range, layout. {@code out} is filled from its start, and rewound. */
    public void write(ByteBuffer out) {
        out.clear();
        int count = input.side * input.side;
        for (int i = 0; i < 3 * count; i++) {
            // Planes one after the other, or the three values of each pixel together.
            int channel = input.isChannelsLast ? i % 3 : i / count;
            int value = pixels[input.isChannelsLast ? i : 3 * (i % count) + channel] & 0xff;
            switch (input.dtype) {
                case "float32":
                    out.putFloat(floats[channel][value]);
                    break;
                case "float16":
                    out.putShort(Half.fromFloat(floats[channel][value]));
                    break;
                default:
                    out.put((byte) (value + (int) input.low));
            }
        }
        out.rewind();
    }

    private int resized(int width, int height, boolean isWidth) throws PictureException {
        long shorter = Math.min(width, height);
        long longer = Math.max(width, height);
        long other = (2 * longer * input.resize + shorter) / (2 * shorter);
        if (other * input.resize > MAX_PIXELS) {
            throw new PictureException(width + " x " + height + " pixels are too long and narrow; crop the picture first");
        }
        return (int) ((width <= height) == isWidth ? input.resize : other);
    }

    private static void shrinkRow(byte[] row, Kernel kernel, byte[] out, int to) {
        for (int x = 0; x < kernel.first.length; x++) {
            int[] weights = kernel.weights[x];
            int red = Kernel.HALF;
            int green = Kernel.HALF;
            int blue = Kernel.HALF;
            int at = 3 * kernel.first[x];
            for (int weight : weights) {
                red += (row[at] & 0xff) * weight;
                green += (row[at + 1] & 0xff) * weight;
                blue += (row[at + 2] & 0xff) * weight;
                at += 3;
            }
            out[to + 3 * x] = clamped(red);
            out[to + 3 * x + 1] = clamped(green);
            out[to + 3 * x + 2] = clamped(blue);
        }
    }

    private static void shrinkColumns(byte[] rows, int firstRow, Kernel kernel, byte[] out, int width) {
        for (int y = 0; y < kernel.first.length; y++) {
            int[] weights = kernel.weights[y];
            int begin = width * (kernel.first[y] - firstRow);
            for (int x = 0; x < width; x++) {
                int sum = Kernel.HALF;
                int at = begin + x;
                for (int weight : weights) {
                    sum += (rows[at] & 0xff) * weight;
                    at += width;
                }
                out[width * y + x] = clamped(sum);
            }
        }
    }

    private static byte clamped(int sum) {
        return (byte) Math.max(0, Math.min(255, sum >> Kernel.PRECISION_BITS));
    }

    private static byte[] grown(byte[] buffer, int size) {
        return buffer.length >= size ? buffer : new byte[size];
    }

    /** Reads rows as they should be seen, whatever way the picture lies. */
    private static final class Turn {
        private final int origin;
        private final int stepRight;
        private final int stepDown;

        Turn(int orientation, int width, int height) {
            int last = width * height - 1;
            int lastColumn = width - 1;
            int lastRow = width * (height - 1);
            int[][] ways = {
                {0, 1, width}, {lastColumn, -1, width}, {last, -1, -width}, {lastRow, 1, -width},
                {0, width, 1}, {lastRow, -width, 1}, {last, -width, -1}, {lastColumn, width, -1},
            };
            int[] way = ways[orientation - 1];
            origin = way[0];
            stepRight = way[1];
            stepDown = way[2];
        }

        /** Read a row as RGB, laid over white. */
        void readRow(byte[] rgba, int y, int width, byte[] out) {
            int pixel = origin + y * stepDown;
            for (int x = 0; x < width; x++, pixel += stepRight) {
                int alpha = rgba[4 * pixel + 3] & 0xff;
                for (int c = 0; c < 3; c++) {
                    int value = rgba[4 * pixel + c] & 0xff;
                    out[3 * x + c] = (byte) (alpha == 255 ? value : (value * alpha + 255 * (255 - alpha) + 127) / 255);
                }
            }
        }
    }
}
