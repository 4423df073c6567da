package edgevit.demo;

import android.content.Context;
import android.graphics.Canvas;
import android.graphics.DashPathEffect;
import android.graphics.Paint;
import android.graphics.Path;
import android.util.AttributeSet;
import android.util.TypedValue;
import android.view.View;
import edgevit.core.Chart;

/** Draws a chart's marks; it is as high as the chart asks for, in letters of the reader's size. */
public final class ChartView extends View {
    private static final int LETTER_SP = 12;
    private static final Paint.Align[] ALIGN = {Paint.Align.LEFT, Paint.Align.CENTER, Paint.Align.RIGHT};

    private final Paint paint = new Paint(Paint.ANTI_ALIAS_FLAG);
    private final Path path = new Path();
    private final float dp;
    private final float letter;
    private Chart chart;

    public ChartView(Context context, AttributeSet attributes) {
        super(context, attributes);
        dp = TypedValue.applyDimension(TypedValue.COMPLEX_UNIT_DIP, 1, getResources().getDisplayMetrics());
        letter = TypedValue.applyDimension(TypedValue.COMPLEX_UNIT_SP, LETTER_SP, getResources().getDisplayMetrics());
        paint.setTextSize(letter);
    }

    /** Show a chart; null for none. */
    void show(Chart shown) {
        boolean isOther = chart == null || shown == null || chart.height != shown.height;
        chart = shown;
        setVisibility(shown == null ? GONE : VISIBLE);
        setContentDescription(shown == null ? null : Texts.of(getContext(), shown.description));
        if (isOther) {
            requestLayout();
        }
        invalidate();
    }

    @Override
    protected void onMeasure(int width, int height) {
        int wanted = chart == null ? 0 : (int) Math.ceil(chart.height * letter);
        setMeasuredDimension(MeasureSpec.getSize(width), wanted);
    }

    @Override
    protected void onDraw(Canvas canvas) {
        if (chart == null) {
            return;
        }
        for (Chart.Mark mark : chart.marks) {
            draw(canvas, mark);
        }
    }

    private void draw(Canvas canvas, Chart.Mark mark) {
        paint.setColor(getContext().getColor(color(mark.ink)));
        paint.setPathEffect(null);
        if (mark.kind == Chart.Kind.TEXT) {
            paint.setStyle(Paint.Style.FILL);
            paint.setTextAlign(ALIGN[mark.anchor]);
            write(canvas, mark);
            return;
        }
        path.rewind();
        path.moveTo(x(mark, 0), y(mark, 0));
        for (int i = 4; i < mark.places.length; i += 4) {
            path.lineTo(x(mark, i), y(mark, i));
        }
        boolean isArea = mark.kind == Chart.Kind.AREA;
        paint.setStyle(isArea ? Paint.Style.FILL : Paint.Style.STROKE);
        paint.setStrokeWidth(mark.ink == Chart.Ink.TRACK || mark.ink == Chart.Ink.QUIET ? dp : 2 * dp);
        if (mark.kind == Chart.Kind.DASHED) {
            paint.setPathEffect(new DashPathEffect(new float[] {4 * dp, 3 * dp}, 0));
        }
        canvas.drawPath(path, paint);
    }

    /** Write a text, smaller where it would reach beyond the chart: with the largest letters not all find room. */
    private void write(Canvas canvas, Chart.Mark mark) {
        String text = Texts.of(getContext(), mark.text);
        float x = x(mark, 0);
        float[] rooms = {getWidth() - x, 2 * Math.min(x, getWidth() - x), x};
        float wanted = paint.measureText(text);
        paint.setTextSize(letter * Math.min(1, Math.max(0.5f, rooms[mark.anchor] / wanted)));
        canvas.drawText(text, x, y(mark, 0), paint);
        paint.setTextSize(letter);
    }

    private float x(Chart.Mark mark, int place) {
        return (float) (mark.places[place] * getWidth() + mark.places[place + 1] * letter);
    }

    private float y(Chart.Mark mark, int place) {
        return (float) (mark.places[place + 2] * getHeight() + mark.places[place + 3] * letter);
    }

    static int color(Chart.Ink ink) {
        switch (ink) {
            case FIRST:
                return R.color.accent;
            case SECOND:
                return R.color.second;
            case HEAT:
                return R.color.heat;
            case TRACK:
                return R.color.track;
            case QUIET:
                return R.color.text_quiet;
            default:
                return R.color.text;
        }
    }
}
