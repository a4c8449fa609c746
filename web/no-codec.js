// Stands in for the codecs of zarr stores, 1.4 MB that no NIfTI needs.
export default class {
  static codecId = 'none'
  static fromConfig() {
    throw new Error('codecs of zarr stores are not part of this build')
  }
}
