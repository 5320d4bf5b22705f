// Numbers and times for people. Times are in the viewer's zone, as on the real page.

const numbers = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", second: "2-digit",
});
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const relative = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "narrow" });

export const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

export const number = (value) => numbers.format(value);

export const plural = (count, one, many) => `${number(count)} ${count === 1 ? one : many}`;

const date = (unix) => new Date(unix * 1000);

export const timeOfDay = (unix) => clock.format(date(unix));

export const dayOf = (unix) => day.format(date(unix));

/** The whole of a time; a number that is no time stays a number. */
export function fullTime(unix) {
  if (Number.isNaN(date(unix).getTime())) return String(unix);
  return `${dayOf(unix)}, ${timeOfDay(unix)}`;
}

export function isoTime(unix) {
  return Number.isNaN(date(unix).getTime()) ? null : date(unix).toISOString();
}

/** How long ago, by the portal's clock. */
export function ago(unix, now) {
  const seconds = Math.max(0, Math.round(now - unix));
  if (seconds < 5) return "just now";
  if (seconds < 60) return relative.format(-seconds, "second");
  if (seconds < 3600) return relative.format(-Math.floor(seconds / 60), "minute");
  if (seconds < 86400) return relative.format(-Math.floor(seconds / 3600), "hour");
  return dayOf(unix);
}

export function bytes(count) {
  if (count < 1000) return `${count} B`;
  for (const [unit, size] of [["KB", 1e3], ["MB", 1e6], ["GB", 1e9]]) {
    if (count < size * 1000) return `${(count / size).toFixed(count < size * 10 ? 1 : 0)} ${unit}`;
  }
  return `${(count / 1e12).toFixed(1)} TB`;
}
