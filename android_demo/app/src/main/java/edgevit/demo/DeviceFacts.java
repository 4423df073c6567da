package edgevit.demo;

import android.content.Context;
import android.content.Intent;
import android.content.IntentFilter;
import android.os.BatteryManager;
import android.os.Build;
import android.os.PowerManager;
import edgevit.core.BenchmarkRecord;
import edgevit.core.KernelFiles;
import edgevit.core.RunGuard;
import java.io.File;
import java.text.SimpleDateFormat;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.TimeZone;

/**
 * What a benchmark record says about the device it was made on.
 *
 * <p>What came after API 23 is looked up by name: the build without Google's SDK compiles against that library.
 */
final class DeviceFacts {
    private static final String[] THERMAL = {"none", "light", "moderate", "severe", "critical", "emergency", "shutdown"};
    private static final KernelFiles KERNEL = new KernelFiles(new File("/"));

    private DeviceFacts() {}

    /** Fill in what does not change. */
    static void describe(BenchmarkRecord record) {
        Map<String, Object> device = new LinkedHashMap<>();
        device.put("name", record.deviceName);
        device.put("model", Build.MANUFACTURER + " " + Build.MODEL);
        device.put("soc", soc());
        device.put("system", "Android " + Build.VERSION.RELEASE);
        device.put("fingerprint", Build.FINGERPRINT);
        device.put("machine", System.getProperty("os.arch", "unknown"));
        device.put("clusters", KERNEL.clusters());
        device.put("is_android", true);
        device.put("emulated", isEmulator());
        device.put("has_taskset", false);
        record.device = device;
        record.isEmulated = isEmulator();
        record.started = now();
        record.peakKb = KERNEL.peakKb();
    }

    /** Return what changes while the device works. */
    static BenchmarkRecord.State state(Context context, RunGuard guard) {
        BenchmarkRecord.State state = new BenchmarkRecord.State();
        Intent battery = battery(context);
        if (battery != null) {
            state.batteryPercent = battery.getIntExtra(BatteryManager.EXTRA_LEVEL, 0);
            state.batteryC = batteryC(context);
            state.isCharging = battery.getIntExtra(BatteryManager.EXTRA_PLUGGED, 0) != 0;
        }
        PowerManager power = (PowerManager) context.getSystemService(Context.POWER_SERVICE);
        state.isPowerSaving = power.isPowerSaveMode();
        Object status = call(power, "getCurrentThermalStatus"); // API 29
        state.thermalStatus = status == null ? null : THERMAL[Math.min((Integer) status, THERMAL.length - 1)];
        Object headroom = call(power, "getThermalHeadroom", 0); // API 30; not a number where the device has none
        state.thermalHeadroom = headroom == null || Float.isNaN((Float) headroom) ? null : ((Float) headroom).doubleValue();
        state.clocksKhz = KERNEL.clocksKhz();
        state.isForeground = guard.isForeground();
        state.isCameraOpen = guard.isCameraOpen();
        return state;
    }

    /** Return the battery's temperature, the one that every phone tells an app; null where it does not. */
    static Double batteryC(Context context) {
        Intent battery = battery(context);
        int tenths = battery == null ? 0 : battery.getIntExtra(BatteryManager.EXTRA_TEMPERATURE, 0);
        return tenths == 0 ? null : tenths / 10.0;
    }

    private static Intent battery(Context context) {
        return context.registerReceiver(null, new IntentFilter(Intent.ACTION_BATTERY_CHANGED));
    }

    private static String soc() {
        return chip().isEmpty() ? Build.HARDWARE : build("SOC_MANUFACTURER") + " " + chip();
    }

    /** Return the name of the system on chip, such as "SM8750"; "" where Android does not tell it, before API 31. */
    static String chip() {
        return build("SOC_MODEL");
    }

    private static String build(String field) {
        try {
            return (String) Build.class.getField(field).get(null);
        } catch (ReflectiveOperationException e) {
            return "";
        }
    }

    private static Object call(PowerManager power, String name, int... values) {
        try {
            return values.length == 0
                    ? PowerManager.class.getMethod(name).invoke(power)
                    : PowerManager.class.getMethod(name, int.class).invoke(power, values[0]);
        } catch (ReflectiveOperationException e) { // An older Android.
            return null;
        }
    }

    private static boolean isEmulator() {
        return Build.HARDWARE.equals("ranchu") || Build.HARDWARE.equals("goldfish") || Build.FINGERPRINT.startsWith("generic");
    }

    private static String now() {
        SimpleDateFormat format = new SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss'+00:00'", Locale.ROOT);
        format.setTimeZone(TimeZone.getTimeZone("UTC"));
        return format.format(new Date());
    }
}
