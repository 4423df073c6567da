package edgevit.demo;

import android.content.Context;
import android.content.Intent;
import android.content.IntentFilter;
import android.os.BatteryManager;
import android.os.Build;
import android.os.Debug;
import edgevit.core.BenchmarkRecord;
import java.text.SimpleDateFormat;
import java.util.Collections;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.TimeZone;

/** What a benchmark record says about the device it was made on. */
final class DeviceFacts {
    private DeviceFacts() {}

    static void describe(Context context, BenchmarkRecord record) {
        Map<String, Object> device = new LinkedHashMap<>();
        device.put("name", record.deviceName);
        device.put("model", Build.MANUFACTURER + " " + Build.MODEL);
        device.put("soc", Build.HARDWARE);
        device.put("system", "Android " + Build.VERSION.RELEASE);
        device.put("fingerprint", Build.FINGERPRINT);
        device.put("machine", System.getProperty("os.arch", "unknown"));
        device.put("clusters", Collections.emptyList());
        device.put("is_android", true);
        device.put("emulated", isEmulator());
        device.put("has_taskset", false);
        record.device = device;
        record.isEmulated = isEmulator();
        record.started = now();
        Debug.MemoryInfo memory = new Debug.MemoryInfo();
        Debug.getMemoryInfo(memory);
        record.peakKb = (double) memory.getTotalPss();
        Intent battery = context.registerReceiver(null, new IntentFilter(Intent.ACTION_BATTERY_CHANGED));
        if (battery != null) {
            record.batteryPercent = battery.getIntExtra(BatteryManager.EXTRA_LEVEL, 0);
            record.batteryC = battery.getIntExtra(BatteryManager.EXTRA_TEMPERATURE, 0) / 10.0;
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
