// Stands in for zarrita, which reads zarr stores: the page shows NIfTI alone, and the codecs are 1.4 MB.
const absent = () => {
  throw new Error('zarr stores are not part of this build')
}
export { absent as FetchStore, absent as get, absent as open, absent as root, absent as slice }
