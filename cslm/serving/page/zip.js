// A ZIP file of stored (not compressed) files: enough to save a conversation in one go.

const TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** A Blob of files: [[name, text or Uint8Array], ...]. */
export function zipFile(files) {
  const parts = [];
  const directory = [];
  let place = 0;
  for (const [path, content] of files) {
    const name = new TextEncoder().encode(path);
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    const crc = crc32(bytes);
    const local = header(0x04034b50, 30, name, bytes.length, crc, 4);
    const central = header(0x02014b50, 46, name, bytes.length, crc, 6);
    central.view.setUint16(4, 20, true);
    central.view.setUint32(42, place, true);
    parts.push(local.bytes, bytes);
    directory.push(central.bytes);
    place += local.bytes.length + bytes.length;
  }
  const size = directory.reduce((sum, entry) => sum + entry.length, 0);
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, files.length, true);
  end.setUint16(10, files.length, true);
  end.setUint32(12, size, true);
  end.setUint32(16, place, true);
  return new Blob([...parts, ...directory, end.buffer], { type: "application/zip" });
}

/** The fields that both kinds of header share, from `at` on, and the name. */
function header(signature, length, name, size, crc, at) {
  const bytes = new Uint8Array(length + name.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, signature, true);
  view.setUint16(at, 20, true); // version that is needed
  view.setUint16(at + 2, 0x0800, true); // names are UTF-8
  view.setUint16(at + 8, 0x21, true); // 1 January 1980: a file has no date
  view.setUint32(at + 10, crc, true);
  view.setUint32(at + 14, size, true);
  view.setUint32(at + 18, size, true);
  view.setUint16(at + 22, name.length, true);
  bytes.set(name, length);
  return { bytes, view };
}
