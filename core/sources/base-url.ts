import * as z from 'zod/mini'

// Credentials in it would end in every message that names it; a query would end in the middle of the path that is put behind it.
const BASE_URL = /^https?:\/\/[^\s/?#@]+(\/[^\s?#]*)?$/

/** The address of an HTTP API without its path; without a slash at its end after parsing. */
export const baseUrl = z.pipe(
  z
    .string()
    .check(z.regex(BASE_URL, { error: 'expected an http:// or https:// address without credentials or query' })),
  z.transform((value) => value.replace(/\/+$/, '')),
)
