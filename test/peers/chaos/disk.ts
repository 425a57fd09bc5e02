import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { mkdir, open, rm } from 'node:fs/promises'
import { join } from 'node:path'

/** A small disk of its own: a tmpfs. */
export interface Disk {
  readonly folder: string
  fill(): Promise<void>
  free(): Promise<void>
  /** Takes it away with all that is on it. */
  remove(): void
}

// Far more than the states of 15 agents, 20 KB each.
const SIZE_BYTES = 2 * 1024 * 1024
const PAGE_BYTES = 4_096

/** Mounts one at `folder`, before the programs start that are to see it: each has mounts of its own. At the latest it goes with this process. */
export async function mountDisk(folder: string): Promise<Disk> {
  await mkdir(folder)
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${SIZE_BYTES}`, 'rollcall-chaos', folder])
  const filler = join(folder, 'filler')
  function remove(): void {
    process.off('exit', remove)
    // Lazily: the mounts of a process that was killed go a moment after it.
    execFileSync('umount', ['--lazy', folder])
    rmSync(folder, { recursive: true })
  }
  process.once('exit', remove)
  return {
    folder,
    async fill() {
      const file = await open(filler, 'w')
      try {
        for (;;) await file.write(Buffer.alloc(PAGE_BYTES))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
      } finally {
        await file.close()
      }
    },
    free: () => rm(filler),
    remove,
  }
}
