// Between millimetres (RAS) and voxels, by the scan's own affine.

export function inverse([[a, b, c], [d, e, f], [g, h, i]]) {
  const det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  return [
    [e * i - f * h, c * h - b * i, b * f - c * e],
    [f * g - d * i, a * i - c * g, c * d - a * f],
    [d * h - e * g, b * g - a * h, a * e - b * d],
  ].map((row) => row.map((value) => value / det));
}

export const times = (matrix, vector) => matrix.map((row) => row[0] * vector[0] + row[1] * vector[1] + row[2] * vector[2]);

// A rigid change of place, given as the rows of its 4 x 4 matrix: there and back.
export function transform(matrix) {
  const turn = matrix.slice(0, 3).map((row) => row.slice(0, 3));
  const shift = matrix.slice(0, 3).map((row) => row[3]);
  const back = inverse(turn);
  return {
    there: (mm) => times(turn, mm).map((value, i) => value + shift[i]),
    back: (mm) =>
      times(
        back,
        mm.map((value, i) => value - shift[i]),
      ),
  };
}

export class Grid {
  constructor({ shape, affine }) {
    this.shape = shape;
    this.turn = affine.slice(0, 3).map((row) => row.slice(0, 3));
    this.shift = affine.slice(0, 3).map((row) => row[3]);
    this.back = inverse(this.turn);
  }

  clamp(axis, value) {
    return Math.min(this.shape[axis] - 1, Math.max(0, value));
  }

  toMm(ijk) {
    return times(this.turn, ijk).map((value, axis) => value + this.shift[axis]);
  }

  // The voxel nearest to a point, inside the scan.
  toVoxel(mm) {
    return times(
      this.back,
      mm.map((value, axis) => value - this.shift[axis]),
    ).map((value, axis) => this.clamp(axis, Math.round(value)));
  }

  middle() {
    return this.toMm(this.shape.map((n) => (n - 1) / 2));
  }
}
