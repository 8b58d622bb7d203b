/** What the kernel says about the layout of its trace events (the `format` files of tracefs). Pure. */

export interface EventField {
  offset: number;
  sizeBytes: number;
}

export interface EventFormat {
  id: number;
  fields: Map<string, EventField>;
}

export interface PageFormat {
  timestampOffset: number;
  commitOffset: number;
  dataOffset: number;
  sizeBytes: number;
}

/** @throws Error when the text is no format */
export function parseEventFormat(text: string): EventFormat {
  const id = Number(/^ID: (\d+)$/m.exec(text)?.[1] ?? Number.NaN);
  if (Number.isNaN(id)) throw new Error('the format of a trace event has no ID');
  return { id, fields: parseFields(text) };
}

/** The format of a page of the trace buffer, from `events/header_page`. @throws Error when a field is missing */
export function parsePageFormat(text: string): PageFormat {
  const fields = parseFields(text);
  const data = need(fields, 'data');
  return {
    timestampOffset: need(fields, 'timestamp').offset,
    commitOffset: need(fields, 'commit').offset,
    dataOffset: data.offset,
    sizeBytes: data.offset + data.sizeBytes,
  };
}

/** Where a field of an event begins. @throws Error when the event has none of that name */
export function fieldOffset(format: EventFormat, name: string): number {
  return need(format.fields, name).offset;
}

function need(fields: Map<string, EventField>, name: string): EventField {
  const field = fields.get(name);
  if (field === undefined) throw new Error(`the kernel's trace format has no field ${name}`);
  return field;
}

function parseFields(text: string): Map<string, EventField> {
  const lines = text.matchAll(/^\s*field:\s*([^;]+);\s*offset:(\d+);\s*size:(\d+);/gm);
  return new Map(
    [...lines].map(([, declaration = '', offset, size]) => {
      const name = /(\w+)(?:\[[^\]]*\])?$/.exec(declaration.trim())?.[1] ?? declaration;
      return [name, { offset: Number(offset), sizeBytes: Number(size) }];
    }),
  );
}
