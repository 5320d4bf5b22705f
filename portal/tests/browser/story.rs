//! What an order's application writes: a story to look at, and texts that mean harm.

/// Seconds since the start of the workflow, and an entry.
pub(crate) const STORY: &[(u64, &str)] = &[
    (
        2,
        "▸ 14:12:08.114 INFO order received: number=1042 lines=3 total=18 490 ₽\n\
         ▸ 14:12:08.131 INFO customer: Анна Ковалёва, Калининград, договор № 77-Б\n\
         ▸ 14:12:08.246 INFO stock reserved: warehouse=north items=3",
    ),
    (
        9,
        "▸ 14:12:15.020 INFO charge{attempt=1}: card •• 4417, amount=18 490 ₽\n\
         ▸ 14:12:17.480 WARN charge{attempt=1}: bank did not answer in 2 s, asking again",
    ),
    (
        14,
        "▸ 14:12:20.911 INFO charge{attempt=2}: approved, authorization=A-60 218\n\
         ▸ 14:12:20.955 INFO receipt sent to anna@example.com",
    ),
    (21, "▸ 14:12:27.302 INFO ship: parcel packed, weight=2.4 kg, комментарий: «позвонить за час»"),
    (
        24,
        "▸ 14:12:29.870 INFO label printed: carrier=СДЭК, from=Калининград, to=Светлогорск\n\
         ▸ 14:12:30.004 INFO invoice 2026/1042 stored in the document of the deal",
    ),
    (
        26,
        "▸ 14:12:32.640 INFO ship: handed to courier, tracking=KGD-204-771\n\
         ▸ 14:12:32.641 INFO ship: pickup before [timestamp=1795341600]tomorrow noon[/timestamp], \
         responsible {=user:user_5}",
    ),
];

/// Text that must be shown as text.
pub(crate) const HOSTILE: &[&str] = &[
    "note from the customer: <script>document.title='owned'</script> please",
    "<img src=x onerror=\"document.title='owned'\"> & <b>bold</b> &lt;i&gt;",
    "\"></p><iframe srcdoc=\"<script>parent.document.title='owned'</script>\"></iframe>",
];
