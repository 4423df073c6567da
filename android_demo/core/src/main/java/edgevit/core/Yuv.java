package edgevit.core;

import java.nio.ByteBuffer;

/**
 * A camera frame in YUV 4:2:0, as Android's ImageReader gives it: three planes with strides of their own, the JFIF range
 * (BT.601, 0 to 255).
 */
public final class Yuv {
    private static final int BITS = 16;
    private static final int HALF = 1 << (BITS - 1);
    // JFIF 1.02, in units of 2^-16.
    private static final int RED_V = 91881;
    private static final int GREEN_U = 22554;
    private static final int GREEN_V = 46802;
    private static final int BLUE_U = 116130;

    public final int width;
    public final int height;
    /** How the frame lies, see {@link Exif}. */
    public int orientation = Exif.UPRIGHT;
    /** How long the last conversion took: a stage of its own, between camera and pre-processing. */
    public double convertUs;

    private final byte[][] planes = new byte[3][];
    private final int[] rowStrides = new int[3];
    private final int[] pixelStrides = new int[3];

    public Yuv(int width, int height) {
        this.width = width;
        this.height = height;
    }

    /** Copy plane 0 (Y), 1 (U) or 2 (V), so that the camera gets its buffer back. The copy's memory is reused. */
    public void setPlane(int number, ByteBuffer data, int rowStride, int pixelStride) {
        if (planes[number] == null || planes[number].length < data.remaining()) {
            planes[number] = new byte[data.remaining()];
        }
        data.get(planes[number], 0, data.remaining());
        rowStrides[number] = rowStride;
        pixelStrides[number] = pixelStride;
    }

    /** Convert to RGBA, row by row, opaque. {@code rgba} holds at least {@code 4 * width * height} bytes. */
    public void toRgba(byte[] rgba) {
        long begin = System.nanoTime();
        for (int row = 0, at = 0; row < height; row++) {
            for (int column = 0; column < width; column++, at += 4) {
                int y = sample(0, row, column) << BITS;
                int u = sample(1, row / 2, column / 2) - 128;
                int v = sample(2, row / 2, column / 2) - 128;
                rgba[at] = rounded(y + RED_V * v);
                rgba[at + 1] = rounded(y - GREEN_U * u - GREEN_V * v);
                rgba[at + 2] = rounded(y + BLUE_U * u);
                rgba[at + 3] = (byte) 255;
            }
        }
        convertUs = (System.nanoTime() - begin) / 1e3;
    }

    /**
     * Return how frames lie, in EXIF's words.
     *
     * @param sensorDegrees how far the sensor is turned in the device, clockwise
     * @param displayDegrees how far the screen's content is turned from the device's natural orientation
     * @param isFront whether the camera looks at the person, where the two add up
     */
    public static int orientation(int sensorDegrees, int displayDegrees, boolean isFront) {
        int turn = (sensorDegrees + (isFront ? displayDegrees : 360 - displayDegrees)) % 360;
        return turn == 90 ? 6 : turn == 180 ? 3 : turn == 270 ? 8 : Exif.UPRIGHT;
    }

    private int sample(int plane, int row, int column) {
        return planes[plane][row * rowStrides[plane] + column * pixelStrides[plane]] & 0xff;
    }

    private static byte rounded(int value) {
        return (byte) Math.max(0, Math.min(255, (value + HALF) >> BITS));
    }
}
